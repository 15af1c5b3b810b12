"""The engine of a gateway: its frames are denoised by workers, which are other dimstream servers.

See docs/scale.md, and docs/decisions for why it is an engine.
"""

from dimstream_server.workers.workers_engine import WorkersEngine

__all__ = ["WorkersEngine"]
