"""Large messages of a WebSocket go out piece by piece: a message is copied for no viewer as a whole."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from websockets.exceptions import InvalidState
from websockets.server import ServerProtocol

PIECE_BYTES: Final = 131_072
"""Of which the copies stay in the processor's cache."""


class PiecewiseSending(asyncio.Protocol):
    """The part of a protocol that sends; uvicorn's class on `websockets` is the next base."""

    conn: ServerProtocol
    transport: asyncio.Transport
    writable: asyncio.Event
    handshake_complete: bool
    disconnected: bool
    close_sent: bool

    async def send(self, message: Any) -> None:
        """Send what the application has, at the pace of who reads it.

        Raises
        ------
        ClientDisconnected
        """
        data = message.get("bytes") if message["type"] == "websocket.send" else None
        if data is None or len(data) <= PIECE_BYTES or not self.handshake_complete:
            await super().send(message)  # type: ignore[misc]
            return
        whole = memoryview(data)
        for at in range(0, len(whole), PIECE_BYTES):
            await self.writable.wait()
            if self.disconnected or self.close_sent:
                raise ClientDisconnected
            self._put(whole[at : at + PIECE_BYTES], is_first=not at, is_last=at + PIECE_BYTES >= len(whole))

    def _put(self, piece: memoryview, *, is_first: bool, is_last: bool) -> None:
        try:
            if is_first:
                self.conn.send_binary(piece, is_last)
            else:
                self.conn.send_continuation(piece, is_last)
        except InvalidState as error:  # its closing has begun
            raise ClientDisconnected from error
        self.transport.write(b"".join(self.conn.data_to_send()))
