"""The frames of a followed stream as one growing array, for viewers such as napari."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from dimstream_client.live.follower import ShownFrame, StreamFollower


class FollowedFrames:
    """Raw or denoised frames, or support maps, (T, H, W); T grows as frames come.

    Pixels are requested from the server when they are read. A frame that is neither in its memory nor
    recorded is read as zeros, and its number is in `unavailable`.

    Parameters
    ----------
    follower : StreamFollower
        Follower of a stream that the server has reported.
    part : str
        `raw`, `denoised` or `support`.
    """

    ndim = 3

    def __init__(self, follower: StreamFollower, part: str) -> None:
        stream = follower.stream
        if stream is None:
            raise ValueError("the server has not reported this stream yet; wait for `StreamFollower.stream`")
        self._follower, self._part, self._side = follower, part, stream.shape
        dtypes = {"raw": stream.dtype, "denoised": stream.out_dtype, "support": "uint8"}
        self.dtype: np.dtype[Any] = np.dtype(dtypes[part])
        self.unavailable: set[int] = set()
        self.length = 1
        """Number of frames (T). Only `grow` changes it, so it is constant during reading."""
        self.grow()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        return (self.length, *self._side)

    @property
    def size(self) -> int:
        """Number of pixels of all frames."""
        return self.length * self._side[0] * self._side[1]

    def __len__(self) -> int:
        return self.length

    def grow(self) -> bool:
        """Add the frames that came meanwhile, and return whether there were any."""
        before = self.length
        self.length = max(1, len(self._follower.seqs()))
        return self.length != before

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Return pixels, indexed like a NumPy array; the first index is a number or a slice."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis:
            first, rest = slice(None), [Ellipsis, *rest]
        if isinstance(first, slice):
            frames = [self._pixels(t) for t in range(*first.indices(self.length))]
            stack = np.stack(frames) if frames else np.empty((0, *self._side), self.dtype)
            return np.asarray(stack[(slice(None), *rest)])
        return np.asarray(self._pixels(operator.index(first))[tuple(rest)])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Return all frames; each one is requested from the server."""
        return np.asarray(self[:], dtype)

    def shown(self, t: int) -> ShownFrame | None:
        """Return frame `t` of the array, from 0, with its figures; None if it is not available."""
        seqs = self._follower.seqs()
        if not 0 <= t < len(seqs):
            return None
        return self._follower.frame(int(seqs[t]))

    def _pixels(self, t: int) -> npt.NDArray[Any]:
        if not -self.length <= t < self.length:
            raise IndexError(f"frame {t} of {self.length}")
        t %= self.length
        frame = self.shown(t)
        image = None if frame is None else frame.images.get(self._part)
        if image is not None and image.shape == self._side:
            return image
        seqs = self._follower.seqs()
        if t < len(seqs):
            self.unavailable.add(int(seqs[t]))
        return np.zeros(self._side, self.dtype)
