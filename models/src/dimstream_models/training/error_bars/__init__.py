"""Error bars: a standard deviation for every denoised pixel, fitted to a bundle's errors, and checked."""
