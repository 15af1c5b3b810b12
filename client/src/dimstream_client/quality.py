"""What is known of a frame once it was denoised, and the thresholds that frames are judged by.

Each figure is declared here, once: its type, how it travels, and what it means. The messages of DIM1, HTTP's
reports and headers, recordings, tables and metrics are made from these declarations. To add a figure, add a
field to `QualityMetrics` with `figure`, and give its value where frames are assessed
(`dimstream_server.engine.frame_quality`). `docs/flags.md` explains what the figures mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Final, Literal, TypeVar, get_args

__all__ = [
    "SHIPPED",
    "FlagName",
    "Forecast",
    "Fractions",
    "FrameResult",
    "QualityMetrics",
    "SplitResult",
    "Status",
    "Thresholds",
    "Times",
    "figure",
    "figures",
    "fitted",
    "flat",
    "flat_figures",
    "parts_of",
    "plain",
]

FlagName = Literal["ok", "suspect", "unjudged"]
Status = Literal["done", "failed"]
FLAGS: Final = get_args(FlagName)
STATUSES: Final = get_args(Status)
T = TypeVar("T")


def figure(kind: str | type[Any], description: str, *, buckets: tuple[float, ...] = ()) -> dict[str, Any]:
    """Return what is declared of a field.

    Parameters
    ----------
    kind : str or type
        What its values are: a name in `header_checks.KINDS`, or a dataclass of figures.
    description : str
        What it means, with its unit.
    buckets : tuple of float
        Bounds of its histogram in ``/metrics``; none: it has no histogram.
    """
    return {"kind": kind, "description": description, "buckets": buckets}


@dataclass(frozen=True)
class Thresholds:
    """The thresholds by which the frames of a stream are judged."""

    ssim: float | None = field(
        default=None,
        metadata=figure(
            "similarity", "SSIM with the frame before, below which a frame is suspect; null: never judged"
        ),
    )
    background_max: float = field(
        default=5.0,
        metadata=figure("number", "windows of at most so many photons are background"),
    )
    signal_min: float = field(
        default=25.0, metadata=figure("number", "windows of more photons than this are signal")
    )
    structure_score: float = field(
        default=5.0,
        metadata=figure("number", "raw frames that score below it show no more than noise, standard errors"),
    )
    split: float | None = field(
        default=None,
        metadata=figure(
            "similarity",
            "SSIM of the predictions of both halves of a frame's photons, below which it is suspect;"
            " null: not judged by it",
        ),
    )


SHIPPED: Final = Thresholds(ssim=0.2915, split=0.4092)
"""Thresholds of the bundle that ships."""


@dataclass(frozen=True)
class Fractions:
    """Fractions of the raw frame's pixels by the photons in the window around them, together 1."""

    background: float = field(metadata=figure("fraction", "fraction of the pixels that are background"))
    uncertain: float = field(metadata=figure("fraction", "fraction of the pixels that may be signal"))
    signal: float = field(metadata=figure("fraction", "fraction of the pixels that are signal"))


@dataclass(frozen=True)
class Times:
    """Milliseconds in the queue, in the model, and from arrival to answer."""

    queue: float = field(metadata=figure("number", "milliseconds in the queue"))
    infer: float = field(metadata=figure("number", "milliseconds in the model"))
    total: float = field(metadata=figure("number", "milliseconds from arrival to answer"))


@dataclass(frozen=True)
class SplitResult:
    """The result of the split-photon check of a frame."""

    t_ms: float = field(metadata=figure("duration", "milliseconds that it took"))
    ssim: float | None = field(
        default=None,
        metadata=figure(
            "similarity", "SSIM of what both halves of the photons predict; null when they were refused"
        ),
    )
    refused: str | None = field(default=None, metadata=figure("text", "why the photons were not split"))


@dataclass(frozen=True)
class Forecast:
    """How long a plane will last until it is suspect, if its figures continue to decline in the same way.

    Frames are those of the plane: of a z-stack, time points.
    """

    frames: float = field(
        metadata=figure("duration", "frames of this plane until it will be suspect: as likely more as fewer")
    )
    earliest: float = field(
        metadata=figure("duration", "frames before which it will be suspect in one of ten cases")
    )
    latest: float | None = field(
        default=None,
        metadata=figure(
            "duration",
            "frames before which it will be suspect in nine of ten cases; null when they cannot be bounded",
        ),
    )
    minutes: float | None = field(
        default=None,
        metadata=figure("duration", "`frames` in minutes; null when the stream's frame interval is unknown"),
    )


@dataclass(frozen=True)
class QualityMetrics:
    """The figures behind a frame's flag; None where there is no value."""

    structure_score: float = field(
        metadata=figure(
            "number",
            "structure score of the raw frame, standard errors above noise",
            buckets=(0.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
        )
    )
    unsupported_fraction: float = field(
        metadata=figure(
            "fraction",
            "share of the predicted signal that no photons support",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        )
    )
    ssim_aligned: float | None = field(
        default=None,
        metadata=figure(
            "similarity",
            "as `ssim_prev`, after the motion `shift_px` was taken out; null when nothing was compared or"
            " there is no structure to align by",
        ),
    )
    correlation: float | None = field(
        default=None,
        metadata=figure(
            "similarity",
            "with the prediction of the frame before, each less its local mean: near 1 for the same"
            " structures, near 0 for other ones; null when nothing was compared, or frames are too small",
        ),
    )
    shift_px: tuple[int, int] | None = field(
        default=None, metadata=figure("shift", "motion since the frame before: rows, columns, px")
    )
    ssim_z: float | None = field(
        default=None,
        metadata=figure(
            "similarity", "SSIM with the prediction of the plane above (z - 1) of the same time point"
        ),
    )
    p_signal: float | None = field(
        default=None,
        metadata=figure(
            "fraction",
            "probability of a similarity at most this with a sample, by the model's calibration",
        ),
    )
    p_dark: float | None = field(
        default=None,
        metadata=figure("fraction", "probability of a similarity at least this without a sample"),
    )
    suspect_since: int | None = field(
        default=None,
        metadata=figure("count", "first frame of the plane's run of suspect ones; null when this one is not"),
    )
    notes: tuple[str, ...] = field(
        default=(), metadata=figure("texts", "what else was seen, such as `moved` or `saturated`")
    )
    split: SplitResult | None = field(
        default=None, metadata=figure(SplitResult, "null when the photons were not to be split")
    )
    forecast: Forecast | None = field(
        default=None,
        metadata=figure(
            Forecast,
            "how long the plane will last until it is suspect; null while its figures do not surely decline",
        ),
    )


@dataclass(frozen=True)
class FrameResult:
    """What the server found of one frame: the same in RESULT, in reports and in recordings."""

    seq: int = field(metadata=figure("count", "number of the frame in its stream"))
    status: Status = field(metadata=figure("status", "whether it was denoised"))
    flag: FlagName = field(metadata=figure("flag", "whether the prediction can be trusted"))
    reason: str | None = field(metadata=figure("text", "why the flag is not `ok`"))
    ssim_prev: float | None = field(
        metadata=figure("similarity", "SSIM with the prediction of frame `compared_seq`")
    )
    compared_seq: int | None = field(metadata=figure("count", "frame that it was compared with"))
    fractions: Fractions | None = field(
        metadata=figure(Fractions, "classes of the raw frame's pixels; null when the frame failed")
    )
    quality: QualityMetrics | None = field(
        metadata=figure(QualityMetrics, "figures behind the flag; null when the frame failed")
    )
    model_sha256: str = field(metadata=figure("text", "of the weights that denoised it"))
    t_ms: Times = field(metadata=figure(Times, "milliseconds"))
    device: str | None = field(
        metadata=figure("text", "what denoised it, such as `cpu` or `cuda:0@tf32`; null of an older server")
    )
    fallback: bool | None = field(
        metadata=figure(
            "boolean",
            "whether the raw frame stands in the place of the denoised one, which would have been late; null"
            " where the stream has no deadline",
        )
    )


_FIGURES: Final[dict[type[Any], tuple[Field[Any], ...]]] = {}


def figures(kind: type[Any]) -> tuple[Field[Any], ...]:
    """Return the declared fields of a class of this module, or of one that is made of such."""
    found = _FIGURES.get(kind)
    if found is None:
        found = _FIGURES[kind] = tuple(one for one in fields(kind) if "kind" in one.metadata)
    return found


def fitted(value: T) -> T:
    """Return figures as JSON can hold them.

    Similarities are held within -1 and 1, which rounding may leave, and are None when they are no numbers. Of
    other numbers nan is 0 and infinity the largest float32: float32 frames may hold counts beyond any
    measure.
    """
    changes = {}
    for one in figures(type(value)):
        now = getattr(value, one.name)
        if isinstance(now, float):
            fit = _fitted(one.metadata["kind"], now)
        elif isinstance(one.metadata["kind"], type) and now is not None:
            fit = fitted(now)
        else:
            continue
        if fit is not now and fit != now:  # to replace takes long, and most figures fit
            changes[one.name] = fit
    return replace(value, **changes) if changes else value  # type: ignore[type-var]


def plain(value: Any) -> Any:
    """Return figures as JSON's own types, null for None; `dataclasses.asdict` takes many times as long."""
    names = getattr(value, "__dataclass_fields__", None)
    return value if names is None else {name: plain(getattr(value, name)) for name in names}


def parts_of(result: FrameResult) -> dict[str, Any]:
    """Return what was found of a frame, without what a message or a file adds to it."""
    return {one.name: getattr(result, one.name) for one in figures(FrameResult)}


def flat_figures(kind: type[Any], prefix: str = "") -> dict[str, Field[Any]]:
    """Return the figures of a class by name, those of its parts under names such as ``split_ssim``."""
    found: dict[str, Field[Any]] = {}
    for one in figures(kind):
        part = one.metadata["kind"]
        found.update(
            flat_figures(part, f"{prefix}{one.name}_")
            if isinstance(part, type)
            else {f"{prefix}{one.name}": one}
        )
    return found


def flat(kind: type[Any], value: Mapping[str, Any] | None, prefix: str = "") -> dict[str, Any]:
    """Return a value for each of `flat_figures`, None where it is not known.

    Parameters
    ----------
    value : mapping or None
        What `plain` gives of an object of the class.
    """
    found: dict[str, Any] = {}
    for one in figures(kind):
        part, now = one.metadata["kind"], None if value is None else value.get(one.name)
        found.update(
            flat(part, now, f"{prefix}{one.name}_")
            if isinstance(part, type)
            else {f"{prefix}{one.name}": now}
        )
    return found


_LARGEST: Final = 3.4028234663852886e38  # float32


def _fitted(kind: str, value: float) -> float | None:
    if kind == "similarity":
        return min(max(value, -1.0), 1.0) if math.isfinite(value) else None
    if kind == "duration":
        return round(value, 3)
    if math.isfinite(value):
        return value
    return 0.0 if math.isnan(value) else math.copysign(_LARGEST, value)


def is_required(one: Field[Any]) -> bool:
    """Return whether an object of the class needs a value for this field."""
    return one.default is MISSING and one.default_factory is MISSING
