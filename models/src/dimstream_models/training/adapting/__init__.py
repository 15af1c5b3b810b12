"""A bundle's network fitted to the user's own movies of photon counts, and the gate that decides about it."""
