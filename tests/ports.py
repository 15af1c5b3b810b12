"""Ports for programs that must be told one."""

import random
import socket

# Below the ports that Linux and Windows give to whoever connects: none of those can take it meanwhile.
_FIRST, _END = 10_000, 32_768


def free_port() -> int:
    """Return a TCP port on which nobody listens."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(_FIRST, _END)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
