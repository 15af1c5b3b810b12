"""Real image pairs: finding, registering, checking and storing them, and patches of them for training."""
