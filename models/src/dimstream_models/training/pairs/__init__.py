"""Recorded image pairs: listing, registering, checking and storing them, and cutting training patches."""
