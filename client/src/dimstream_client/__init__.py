"""Client of dimstream: send frames to the denoising service, get them back with a flag for each."""
