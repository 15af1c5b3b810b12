"""The engine of a gateway: workers, which are other dimstream servers, denoise its frames.

See docs/scale.md, and docs/decisions for the reasons.
"""

from dimstream_server.workers.workers_engine import WorkersEngine

__all__ = ["WorkersEngine"]
