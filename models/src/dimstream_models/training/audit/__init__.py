"""Tests of a bundle's flags, on movies with known truth."""
