"""A folder that a microscope fills: its images are denoised as they appear. Needs the extra ``tiff``."""
