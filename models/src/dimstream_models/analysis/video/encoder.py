"""Writes MP4 files frame by frame, with the ffmpeg that imageio-ffmpeg installs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from dimstream_models.analysis.errors import CannotEncode

QUALITY: Final = "18"
"""Constant rate factor of x264; at 18, no difference from the original is visible."""


class VideoFile:
    """Writes frames as H.264 to an MP4 file, which appears when it is closed without an error.

    Use it as a context manager. It holds one frame at a time; ffmpeg is a separate process.

    Parameters
    ----------
    path : Path
    frames_per_s : float
        Playback speed.
    """

    def __init__(self, path: Path, *, frames_per_s: float) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.stem}.partial.mp4")
        self._frames_per_s = frames_per_s
        self._pipe: Generator[None, Any, None] | None = None

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Append a picture, (H, W, 3) uint8; H and W are even, and the same for all pictures.

        Raises
        ------
        CannotEncode
        """
        try:
            if self._pipe is None:
                self._pipe = self._open(picture.shape[1], picture.shape[0])
                self._pipe.send(None)
            self._pipe.send(np.ascontiguousarray(picture))
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if self._pipe is not None:
                self._pipe.close()
        except OSError as error:
            self._partial.unlink(missing_ok=True)
            raise self._failed(error) from error
        if kind is None and self._pipe is not None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def _open(self, width: int, height: int) -> Generator[None, Any, None]:
        pipe: Generator[None, Any, None] = imageio_ffmpeg.write_frames(
            str(self._partial),
            (width, height),
            fps=self._frames_per_s,
            codec="libx264",
            quality=None,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-crf", QUALITY, "-movflags", "+faststart"],
        )
        return pipe

    def _failed(self, error: OSError) -> CannotEncode:
        said = " ".join(str(error).split())[-300:]
        return CannotEncode(
            f"{self._path}: expected ffmpeg to write a video, got: {said}. Check the folder and the space on"
            " its disk"
        )
