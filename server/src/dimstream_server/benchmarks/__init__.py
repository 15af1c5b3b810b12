"""What the service adds to a bare run of its own fused graph: `dimstream-server bench`, `make bench`.

`docs/benchmarks.md` says what is measured and how to read it.
"""

from dimstream_server.benchmarks.command import main

__all__ = ["main"]
