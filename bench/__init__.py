"""The benchmark suite: what the README's figures are measured with. Never part of the tests."""
