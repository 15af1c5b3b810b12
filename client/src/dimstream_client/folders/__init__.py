"""Folders of images: denoised over night, or taken as one movie. Needs the extra ``tiff``."""
