"""Denoises the frames of many streams: the protocol that the endpoints see, and the engine of one device."""
