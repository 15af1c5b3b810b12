"""The small network that classifies pixels of the ER: its frames, its fit, its bundle."""
