"""The settings of a recording, its input, and its final files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dimstream_client.messages import PlaneIndex
from dimstream_client.quality import Thresholds
from dimstream_models.quality.detector import Detector
from dimstream_server.engine.protocol import EngineResult, InDtype, ModelInfo, OutDtype

Format = Literal["tiff", "zarr"]
Fsync = Literal["never", "close", "frame"]


@dataclass(frozen=True, kw_only=True)
class RecordingSpec:
    """Metadata of a recording.

    Parameters
    ----------
    stream : str
        Id of the stream; together with `opened_at`, it is the name of the recording's folder.
    model, thresholds
        Those of the first frame.
    shape : tuple of int
        (H, W) of every frame.
    pixel_size_um, frame_interval_s : float or None
        None when unknown.
    channels : tuple of str
        Names, in the order of the index; may be empty.
    client, user
        Who requested the stream, only for the metadata.
    opened_at : float
        Seconds since 1970.
    with_support : bool
        Whether the support maps are recorded, too.
    with_sd : bool
        Whether the error bars are recorded, too.
    detector : Detector or None
        Offset and gain by which photons were calculated; None: the values are photons.
    """

    stream: str
    model: ModelInfo
    thresholds: Thresholds
    shape: tuple[int, int]
    in_dtype: InDtype
    opened_at: float
    out_dtype: OutDtype = "uint16"
    pixel_size_um: float | None = None
    frame_interval_s: float | None = None
    channels: tuple[str, ...] = ()
    client: str = ""
    user: str | None = None
    format: Format = "tiff"
    with_support: bool = False
    with_sd: bool = False
    detector: Detector | None = None

    @property
    def frame_bytes(self) -> int:
        """Bytes of the pixels of one frame: raw, denoised, support map and error bars."""
        frames = np.dtype(self.in_dtype).itemsize + np.dtype(self.out_dtype).itemsize
        return self.shape[0] * self.shape[1] * (frames + self.with_support + 4 * self.with_sd)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedFrame:
    """One frame and its result. Nothing is copied, so its pixels must not change until they are written.

    Parameters
    ----------
    raw : ndarray
        (H, W) values of the detector as received.
    result : EngineResult
        It must have `pixels` unless the frame failed, whatever the client requests.
    index : PlaneIndex
        Index of the frame. `t` is the time point by which the frame was judged.
    t_acq : float or None
        Seconds since 1970 by the sender's clock.
    meta : mapping
        The sender's metadata of the frame.
    gain, offset : float or None
        Rescaling of the model that was used.
    """

    raw: NDArray[Any]
    result: EngineResult
    index: PlaneIndex
    t_acq: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    gain: float | None = None
    offset: float | None = None

    @property
    def seq(self) -> int:
        """Number of the frame in the stream."""
        return self.result.seq

    @property
    def nbytes(self) -> int:
        """Memory of its pixels, bytes."""
        held = (self.raw, self.result.pixels, self.result.support, self.result.sd)
        return sum(pixels.nbytes for pixels in held if pixels is not None)

    def pixels_of(self, kinds: Iterable[str]) -> Iterator[tuple[str, NDArray[Any] | None]]:
        """Yield (kind, (H, W) pixels) in the order of writing; None if the frame has none."""
        answer = self.result
        pixels = {"raw": self.raw, "denoised": answer.pixels, "support": answer.support, "sd": answer.sd}
        return ((kind, pixels[kind]) for kind in kinds)


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """One final file of a recording.

    Parameters
    ----------
    name : str
        Relative to the folder of all recordings, with forward slashes.
    sha256 : str
        Checksum of the file or, for an OME-Zarr folder, of the listing that `docs/recording.md` describes.
    nbytes : int
    """

    name: str
    sha256: str
    nbytes: int
