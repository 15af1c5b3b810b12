"""Denoise the images of a folder while a microscope writes them. Needs the extra ``tiff``."""
