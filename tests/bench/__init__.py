"""Benchmarks and surveys: commands of their own, never part of the tests. Each says what it does by --help."""
