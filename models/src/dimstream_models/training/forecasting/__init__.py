"""How right the forecast is, on simulated movies of samples that bleach."""
