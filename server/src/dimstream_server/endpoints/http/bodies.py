"""Bodies on their way: read as they arrive, sent as they are taken, each within bounds of time and memory."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from dimstream_server.endpoints.http.capacity import Share, Slot
from dimstream_server.endpoints.http.denoising import Abandoned
from dimstream_server.errors import ServerBusy
from dimstream_server.problem_details import RequestRefused

PLAIN: Final = ("identity",)
PIECE_BYTES: Final = 1_048_576  # of an answer, which are in memory twice


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds of one body.

    Parameters
    ----------
    max_bytes : int
        As it arrives.
    stall_s : float
        In each such time come `min_bytes_per_s` times as many bytes, or the end.
    min_bytes_per_s : int
    total_s : float
        All of it has come by then.
    """

    max_bytes: int
    stall_s: float
    min_bytes_per_s: int
    total_s: float

    @property
    def progress_bytes(self) -> int:
        """Bytes that come within `stall_s`."""
        return max(1, int(self.stall_s * self.min_bytes_per_s))


async def read_body(
    request: Request, limits: BodyLimits, share: Share, *, encodings: Collection[str] = PLAIN
) -> bytearray:
    """The body, counted as it arrives; `share` holds its bytes.

    Parameters
    ----------
    encodings : collection of str
        Content-Encodings that are taken, "identity" among them.

    Raises
    ------
    RequestRefused
        oversize: it is larger than is taken, or says so; request_timeout: it comes too slowly;
        unsupported_media_type: it is compressed in another way.
    ServerBusy
        Other bodies take the memory.
    Abandoned
        The client went away.
    """
    _check_head(request, limits, encodings)
    body = bytearray()
    enough = limits.progress_bytes
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.total_s
    try:
        async with asyncio.timeout_at(min(end, loop.time() + limits.stall_s)) as stall:
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.max_bytes:
                    raise _too_large(limits)
                if not share.take(len(chunk)):
                    raise ServerBusy(
                        "the bodies of other requests take the memory there is for them "
                        "(http.max_buffered_bytes, of which one client gets half); try again"
                    )
                body += chunk
                if len(body) >= enough:
                    enough = len(body) + limits.progress_bytes
                    stall.reschedule(min(end, loop.time() + limits.stall_s))
        return body
    except TimeoutError as error:
        raise RequestRefused(
            "request_timeout",
            f"expected {limits.progress_bytes} bytes of the body, or its end, in each {limits.stall_s:g} s, "
            f"and all of it within {limits.total_s:g} s; {len(body)} bytes came",
        ) from error
    except ClientDisconnect as error:
        raise Abandoned from error


def encoding_of(request: Request) -> str:
    """How a body is compressed; "identity" where it is not."""
    return request.headers.get("content-encoding", "identity").lower()


def _check_head(request: Request, limits: BodyLimits, encodings: Collection[str]) -> None:
    encoding = encoding_of(request)
    if encoding not in encodings:
        others = [one for one in encodings if one != "identity"]
        raise RequestRefused(
            "unsupported_media_type",
            f"the body is {encoding}-encoded; send it as it is{''.join(f', or {one}' for one in others)}",
            headers={"Accept-Encoding": ", ".join(encodings)},
        )
    announced = request.headers.get("content-length", "0")
    if announced.isascii() and announced.isdigit() and int(announced[:30]) > limits.max_bytes:
        raise _too_large(limits)


def _too_large(limits: BodyLimits) -> RequestRefused:
    return RequestRefused("oversize", f"the body is larger than the {limits.max_bytes} bytes that are taken")


class LeavingFile(Response):
    """An answer that is sent in pieces, each when the one before was taken.

    Parameters
    ----------
    answer : Response
        What is sent.
    share : Share
        What holds its bytes, until it has left.
    """

    def __init__(self, answer: Response, share: Share) -> None:
        self.status_code = answer.status_code
        self.raw_headers = answer.raw_headers
        self.body = answer.body
        self.background = None
        self._share = share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._share:
            await self._send(send)

    async def _send(self, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        left = memoryview(self.body)
        while len(left) > PIECE_BYTES:
            piece, left = left[:PIECE_BYTES], left[PIECE_BYTES:]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": left})


class LeavingAnswer(LeavingFile):
    """The same of a request that was denoised.

    Parameters
    ----------
    answer : Response
        What is sent.
    slot : Slot
        The request's place. Another request gets it as soon as `share` holds the answer's bytes, else when
        the answer has left.
    share : Share
    """

    def __init__(self, answer: Response, slot: Slot, share: Share) -> None:
        super().__init__(answer, share)
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            if self._share.take(len(self.body)):
                self._slot.vacate()
            await super().__call__(scope, receive, send)
        finally:
            self._slot.close()
