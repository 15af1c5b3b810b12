"""A dimstream server, asked by NVIDIA's client."""

from triton import asker


def connect(settings):
    """What denoises one frame by a connection of its own."""
    return asker(settings["http"].removeprefix("http://"), settings["model"])
