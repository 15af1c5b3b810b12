"""Figures of merit of images: each a plain function of arrays, tested against an independent reference."""
