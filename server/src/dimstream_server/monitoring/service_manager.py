"""Notifications to systemd about the server's state, by its notify protocol (sd_notify(3)), if requested."""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send `state` to the socket in `NOTIFY_SOCKET`; an address that begins with @ is abstract."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as supervisor:
            supervisor.connect(address)
            supervisor.sendall(state.encode())
    except (
        OSError
    ) as error:  # the supervisor will report that it got no message; frames are denoised nevertheless
        _log.error("systemd cannot be notified event=notify_failed state=%s reason=%s", state, error)
