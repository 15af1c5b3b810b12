"""Folders of images: denoised file by file, or read as one movie. Needs the extra ``tiff``."""
