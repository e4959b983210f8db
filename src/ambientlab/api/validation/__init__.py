"""Semantic validation of the kinds: what a schema cannot say."""
