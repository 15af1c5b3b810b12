"""`recording.json`: what a recording is of. It is written first, and all that `recover` needs next to the
frames and their lines."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from dimstream_client.quality import Thresholds
from dimstream_server.engine.protocol import InDtype, ModelInfo, OutDtype
from dimstream_server.errors import RecordingRefused
from dimstream_server.recording.spec import Format, RecordingSpec

DESCRIPTION: Final = "recording.json"
_PACKAGES: Final = (
    "dimstream-server",
    "dimstream-models",
    "dimstream-client",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "onnx",
    "numpy",
)


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WrittenModel(_Written):
    """The model that was in force."""

    id: str
    name: str
    sha256: str
    gain: float | None
    offset: float | None

    @classmethod
    def of(cls, model: ModelInfo) -> Self:
        """What is written of a model."""
        return cls(id=model.id, name=model.name, sha256=model.sha256, gain=model.gain, offset=model.offset)


class WrittenDetector(_Written):
    """By which the values of the raw frames became photons: (value - offset) / gain."""

    offset: float
    gain: float


class InForceFrom(_Written):
    """What frames from `from_seq` on were denoised with and judged by."""

    from_seq: int
    model: WrittenModel
    thresholds: Thresholds


class Description(_Written):
    """The content of `recording.json`."""

    dimstream_recording: Literal[1] = 1
    stream: str
    opened_at: float
    opened_at_utc: str
    format: Format
    shape: tuple[int, int]
    in_dtype: InDtype
    out_dtype: OutDtype
    with_support: bool
    with_sd: bool = False
    pixel_size_um: float | None
    frame_interval_s: float | None
    channels: tuple[str, ...]
    client: str
    user: str | None
    detector: WrittenDetector | None = None
    model: WrittenModel
    thresholds: Thresholds
    versions: dict[str, str]

    @classmethod
    def of(cls, spec: RecordingSpec) -> Self:
        """What is written of a spec, with the versions of what runs now."""
        return cls(
            stream=spec.stream,
            opened_at=spec.opened_at,
            opened_at_utc=utc(spec.opened_at),
            format=spec.format,
            shape=spec.shape,
            in_dtype=spec.in_dtype,
            out_dtype=spec.out_dtype,
            with_support=spec.with_support,
            with_sd=spec.with_sd,
            pixel_size_um=spec.pixel_size_um,
            frame_interval_s=spec.frame_interval_s,
            channels=spec.channels,
            client=spec.client,
            user=spec.user,
            detector=None if spec.detector is None else WrittenDetector(**asdict(spec.detector)),
            model=WrittenModel.of(spec.model),
            thresholds=spec.thresholds,
            versions=_versions(),
        )

    @property
    def dtypes(self) -> dict[str, str]:
        """Pixel type of each kind of image that is recorded, in the order in which they are written."""
        kinds = {"raw": str(self.in_dtype), "denoised": str(self.out_dtype)}
        beside = {"support": ("uint8", self.with_support), "sd": ("float32", self.with_sd)}
        return kinds | {kind: dtype for kind, (dtype, wanted) in beside.items() if wanted}

    def in_force(self) -> InForceFrom:
        """What was in force at the first frame."""
        return InForceFrom(from_seq=0, model=self.model, thresholds=self.thresholds)

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all.

        Raises
        ------
        OSError
        """
        unfinished = folder / f".{DESCRIPTION}"
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(json.dumps(self.model_dump(), indent=2, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / DESCRIPTION)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it again.

        Raises
        ------
        RecordingRefused
            It is not there, or not of this version.
        """
        try:
            return cls.model_validate_json((folder / DESCRIPTION).read_bytes())
        except OSError as error:
            raise RecordingRefused(
                f"{folder} is no recording: expected {DESCRIPTION}, got {error.strerror}"
            ) from error
        except ValidationError as error:
            first = error.errors()[0]
            raise RecordingRefused(
                f"{folder / DESCRIPTION} is not of this version: {'.'.join(map(str, first['loc']))}: "
                f"{first['msg']}; use the dimstream-server that wrote it"
            ) from error

    def refuse_other(self, spec: RecordingSpec, folder: Path) -> None:
        """Refuse to go on with frames of another kind.

        Raises
        ------
        RecordingRefused
        """
        for name in ("stream", "shape", "in_dtype", "out_dtype", "format", "with_support", "with_sd"):
            expected, came = getattr(self, name), getattr(spec, name)
            if expected != came:
                raise RecordingRefused(
                    f"{folder} was recorded with {name} {expected!r}, got {came!r}; begin another recording"
                )


def folder_name(spec: RecordingSpec) -> str:
    """Name of a recording's folder: start time and stream, nothing that a user chose."""
    stream = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in spec.stream)
    return f"{datetime.fromtimestamp(spec.opened_at, UTC):%Y%m%dT%H%M%SZ}_{stream[:64]}"


def utc(seconds: float) -> str:
    """Time in ISO 8601, as OME and people read it.

    Raises
    ------
    ValueError, OverflowError, OSError
        No calendar reaches so far.
    """
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def _versions() -> dict[str, Any]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
