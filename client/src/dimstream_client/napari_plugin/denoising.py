"""Denoise a stack with a stream, frame by frame, until it is done or canceled. Independent of napari."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from dimstream_client.client import Client
from dimstream_client.errors import ConnectionLost, StreamError
from dimstream_client.napari_plugin.stack_frames import StackFrames


@dataclass(frozen=True)
class DenoisedFrame:
    """The result of one frame.

    Parameters
    ----------
    pixels, support : ndarray or None
        Images (H, W); None if the frame has no result.
    """

    seq: int
    pixels: npt.NDArray[Any] | None
    support: npt.NDArray[Any] | None
    flag: str
    reason: str | None
    structure_score: float | None
    ssim: float | None


class Denoising:
    """One run over a stack.

    Parameters
    ----------
    options : keywords
        Settings of `Client.stream`.
    """

    def __init__(self, client: Client, stack: StackFrames, **options: Any) -> None:
        self._client, self._stack, self._options = client, stack, options
        self._canceled = threading.Event()

    def cancel(self) -> None:
        """End the run at once; can be called by any thread."""
        self._canceled.set()
        self._client.close()

    def frames(self) -> Iterator[DenoisedFrame]:
        """Yield the result of each frame, in order, until `cancel`.

        Raises
        ------
        StreamError, ConnectionLost, FrameError, Timeout
        """
        results = self._client.stream(self._stack, out_dtype="float32", **self._options)
        while not self._canceled.is_set():
            try:
                result = next(results, None)
            except StreamError as error:
                if error.problem.seq is None:
                    raise
                yield DenoisedFrame(error.problem.seq, None, None, "refused", error.detail, None, None)
                continue
            except ConnectionLost:
                if self._canceled.is_set():
                    return
                raise
            if result is None:
                return
            quality = result.quality
            score = None if quality is None else quality.structure_score
            yield DenoisedFrame(
                result.seq, result.pixels, result.support, result.flag, result.reason, score, result.ssim_prev
            )
