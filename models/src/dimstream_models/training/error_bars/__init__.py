"""A standard deviation for every denoised pixel: fitted to what a bundle gets wrong, and checked."""
