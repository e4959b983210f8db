"""`ambientlab plan`: what manifests and deletions would do to traffic, written for a terminal or as JSON."""
