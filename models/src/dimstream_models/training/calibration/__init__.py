"""What a trained network is told about the world: its rescaling and the thresholds of its flag."""
