"""The small network that says what a pixel of the ER shows: its frames, its fit, its bundle."""
