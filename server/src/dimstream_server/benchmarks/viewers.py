"""Viewers of a server's live view, in a process of their own: five that read, and one that never does.

Started by `viewing` with the server's URL. It says when all of them watch, and, once it is told to stop, how
many frames came.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from typing import Any, Final

from dimstream_server.benchmarks.viewing import READERS, READY

_LOWEST: Final = 19  # of all priorities: what viewers do, they do on other machines
_NO_GOODBYE_S: Final = 0.1  # who never reads sees no answer to its goodbye


async def _watch(url: str) -> None:
    """Watch until standard input ends; say when all do, and then how many frames came."""
    from websockets.asyncio.client import connect

    counts = [0]
    address = url.replace("http", "ws", 1) + "/live/ws"
    async with connect(
        address, max_size=None, compression=None, proxy=None, max_queue=1, close_timeout=_NO_GOODBYE_S
    ) as silent:
        await silent.send(_wish(await _stream_of(silent)))
        readers = [asyncio.ensure_future(_read(connect, address, counts)) for _ in range(READERS)]
        while counts[0] < READERS:  # each has the frame that was there
            await asyncio.sleep(0.01)
            for reader in readers:
                if reader.done():
                    reader.result()
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    print(counts[0], flush=True)


async def _read(connect: Any, address: str, counts: list[int]) -> None:
    async with connect(address, max_size=None, compression=None, proxy=None) as socket:
        await socket.send(_wish(await _stream_of(socket)))
        taken = 1
        async for message in socket:
            taken += 1
            counts[0] += _header(message)["type"] == "frame"
            await socket.send(json.dumps({"type": "done", "count": taken}))


async def _stream_of(socket: Any) -> str:
    """The stream that the first message names."""
    return str(_header(await socket.recv())["streams"][0]["stream"])


def _wish(stream: str) -> str:
    view = {"stream": stream, "parts": ["raw", "denoised"], "rows": True}
    return json.dumps({"type": "watch", "views": [view]})


def _header(message: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<I", message)
    header: dict[str, Any] = json.loads(message[4 : 4 + length])
    return header


if __name__ == "__main__":
    if hasattr(os, "nice"):  # Windows has none
        os.nice(_LOWEST)
    asyncio.run(_watch(sys.argv[1]))
