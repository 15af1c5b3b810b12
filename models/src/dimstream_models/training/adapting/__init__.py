"""Adaptation of a bundle's network to the user's own movies of photon counts, and the test that accepts
it."""
