"""Calibration of a trained network: its rescaling, and the thresholds of its flag."""
