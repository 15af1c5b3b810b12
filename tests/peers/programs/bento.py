"""BentoML with a raw body in and out, which is less work for it than arrays in JSON."""

import os
import sys
from pathlib import Path

from raw_http import poster


def serve(settings):
    """Its own command serves `bento_service.Peer`, which reads the settings again."""
    environment = {**os.environ, "PEER_SETTINGS": sys.argv[3], "BENTOML_DO_NOT_TRACK": "True"}
    address = ("--host", "127.0.0.1", "--port", str(settings["port"]))
    os.chdir(Path(__file__).parent)
    # In place of this process: told to end, it ends its workers, which have sessions of their own.
    command = (sys.executable, "-m", "bentoml", "serve", "bento_service:Peer", *address)
    os.execve(sys.executable, command, environment)


def connect(settings):
    """What denoises one frame by a connection of its own."""
    return poster(settings["port"], "/denoise")
