"""Denoises the frames of many streams: the protocol that the doors see, and the engine of one device."""
