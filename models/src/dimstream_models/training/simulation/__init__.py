"""Simulated low-dose STED: scenes, their motion, the detector, and endless training samples of them."""
