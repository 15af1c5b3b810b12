"""`recording.json`: the description of a recording. It is written first, and is all that `recover` needs
besides the frames and their lines."""

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
    """The model in use."""

    id: str
    name: str
    sha256: str
    gain: float | None
    offset: float | None

    @classmethod
    def of(cls, model: ModelInfo) -> Self:
        """Return the description of a model."""
        return cls(id=model.id, name=model.name, sha256=model.sha256, gain=model.gain, offset=model.offset)


class WrittenDetector(_Written):
    """Conversion of raw values to photons: (value - offset) / gain."""

    offset: float
    gain: float


class InForceFrom(_Written):
    """The model and thresholds for frames from `from_seq` on."""

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
        """Return the description of a spec, with the versions of the running software."""
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
        """Pixel type of each recorded kind of image, in the order of writing."""
        kinds = {"raw": str(self.in_dtype), "denoised": str(self.out_dtype)}
        beside = {"support": ("uint8", self.with_support), "sd": ("float32", self.with_sd)}
        return kinds | {kind: dtype for kind, (dtype, wanted) in beside.items() if wanted}

    def in_force(self) -> InForceFrom:
        """The model and thresholds of the first frame."""
        return InForceFrom(from_seq=0, model=self.model, thresholds=self.thresholds)

    def write(self, folder: Path) -> None:
        """Write it, completely or not at all.

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
        """Read it.

        Raises
        ------
        RecordingRefused
            When it is missing, or has another version.
        """
        try:
            return cls.model_validate_json((folder / DESCRIPTION).read_bytes())
        except OSError as error:
            raise RecordingRefused(
                f"{folder} is not a recording: expected {DESCRIPTION}, got {error.strerror}"
            ) from error
        except ValidationError as error:
            first = error.errors()[0]
            raise RecordingRefused(
                f"{folder / DESCRIPTION} is not of this version: {'.'.join(map(str, first['loc']))}: "
                f"{first['msg']}; use the dimstream-server that wrote it"
            ) from error

    def refuse_other(self, spec: RecordingSpec, folder: Path) -> None:
        """Refuse to continue with frames of another kind.

        Raises
        ------
        RecordingRefused
        """
        for name in ("stream", "shape", "in_dtype", "out_dtype", "format", "with_support", "with_sd"):
            expected, came = getattr(self, name), getattr(spec, name)
            if expected != came:
                raise RecordingRefused(
                    f"{folder} was recorded with {name} {expected!r}, got {came!r}; start another recording"
                )


def folder_name(spec: RecordingSpec) -> str:
    """Return the name of a recording's folder: start time and stream, without any user input."""
    stream = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in spec.stream)
    return f"{datetime.fromtimestamp(spec.opened_at, UTC):%Y%m%dT%H%M%SZ}_{stream[:64]}"


def utc(seconds: float) -> str:
    """Return a time in ISO 8601, for OME and for people.

    Raises
    ------
    ValueError, OverflowError, OSError
        When the time is outside the calendar's range.
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
