"""Networks that classify pixels: resampling to their pixel size, and processing in tiles."""
