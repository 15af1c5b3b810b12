"""Denoises the frames of many streams: the protocol for the endpoints, and the engine on this machine's
devices."""
