"""From the declarations of a description to what is computed: processing steps, axes, sides."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from pydantic import Field, ValidationError

from dimstream_models.bundle.description import Axis, ProcessingEntry, SameAs, Series, Tensor
from dimstream_models.bundle.errors import InvalidBundle, UnknownProcessing, UnsupportedModel
from dimstream_models.bundle.processing import (
    Clip,
    EnsureDtype,
    FixedZeroMeanUnitVariance,
    ScaleLinear,
    ScalePercentiles,
    Step,
    StepDtype,
    ZeroMeanUnitVariance,
)
from dimstream_models.bundle.schema import Confined

PREPROCESSING = (
    "ensure_dtype",
    "scale_linear",
    "clip",
    "fixed_zero_mean_unit_variance",
    "zero_mean_unit_variance",
    "scale_range",
)
POSTPROCESSING = ("scale_linear", "clip", "ensure_dtype")
LAYOUTS = ("bcyx", "byx", "cyx", "yx")
NETWORK_DTYPE: Final = "float32"
MAX_STEP = 4096
STEP_DTYPES: tuple[StepDtype, ...] = get_args(StepDtype)

Number = float | tuple[float]
"""A number, or a list of one number: how the standard writes numbers along a channel axis of length 1."""


class _Unsupported(Exception):
    """Raised for a step of a known name with unknown settings; says which."""


class _EnsureDtype(Confined):
    dtype: str

    def step(self) -> Step:
        for known in STEP_DTYPES:
            if self.dtype == known:
                return EnsureDtype(known)
        raise _Unsupported(f"dtype {self.dtype!r}")


class _ScaleLinear(Confined):
    gain: Number = 1.0
    offset: Number = 0.0
    axis: str | None = None

    def step(self) -> Step:
        return ScaleLinear(gain=_scalar(self.gain), offset=_scalar(self.offset))


class _Clip(Confined):
    min: float | None = None
    max: float | None = None
    min_percentile: float | None = None
    max_percentile: float | None = None
    axes: tuple[str, ...] | None = None

    def step(self) -> Step:
        if self.min_percentile is not None or self.max_percentile is not None:
            raise _Unsupported("percentiles")
        if self.min is None and self.max is None:
            raise _Unsupported("no bound")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise _Unsupported(f"min {self.min}, which is not below max {self.max}")
        return Clip(self.min, self.max)


class _FixedZeroMeanUnitVariance(Confined):
    mean: Number
    std: Number
    axis: str | None = None

    def step(self) -> Step:
        mean, std = _scalar(self.mean), _scalar(self.std)
        if std < 1e-6:
            raise _Unsupported(f"std {std}, below the standard's 1e-6")
        return FixedZeroMeanUnitVariance(mean, std)


class _ZeroMeanUnitVariance(Confined):
    axes: tuple[str, ...] | None = None
    eps: float = Field(default=1e-6, gt=0, le=0.1)

    def step(self) -> Step:
        if self.axes is not None and not {"y", "x"} <= set(self.axes):
            raise _Unsupported(f"axes {list(self.axes)}, which are not the whole frame")
        return ZeroMeanUnitVariance(self.eps)


class _ScaleRange(Confined):
    axes: tuple[str, ...] | None = None
    min_percentile: float = Field(default=0.0, ge=0, lt=100)
    max_percentile: float = Field(default=100.0, gt=1, le=100)
    eps: float = Field(default=1e-6, gt=0, le=0.1)
    reference_tensor: str | None = None

    def step(self) -> Step:
        if self.axes is not None and not {"y", "x"} <= set(self.axes):
            raise _Unsupported(f"axes {list(self.axes)}, which are not the whole frame")
        if self.reference_tensor is not None:
            raise _Unsupported(f"reference_tensor {self.reference_tensor!r}")
        if self.min_percentile >= self.max_percentile:
            raise _Unsupported(f"min_percentile {self.min_percentile}, which is not below max_percentile")
        return ScalePercentiles(self.min_percentile, self.max_percentile, self.eps)


READERS: Mapping[str, Callable[[dict[str, Any]], Step]] = {
    "ensure_dtype": lambda kwargs: _EnsureDtype.model_validate(kwargs).step(),
    "scale_linear": lambda kwargs: _ScaleLinear.model_validate(kwargs).step(),
    "clip": lambda kwargs: _Clip.model_validate(kwargs).step(),
    "fixed_zero_mean_unit_variance": lambda kwargs: _FixedZeroMeanUnitVariance.model_validate(kwargs).step(),
    "zero_mean_unit_variance": lambda kwargs: _ZeroMeanUnitVariance.model_validate(kwargs).step(),
    "scale_range": lambda kwargs: _ScaleRange.model_validate(kwargs).step(),
}


def preprocessing(tensor: Tensor) -> tuple[Step, ...]:
    """Return the steps from counts to the network's input, including those that the standard implies.

    Raises
    ------
    UnknownProcessing
    UnsupportedModel
        When the network's input is not float32.
    """
    where = "inputs.0.preprocessing"
    steps = _steps(tensor.preprocessing, PREPROCESSING, where=where)
    described = _step(_cast_to(tensor), PREPROCESSING, where)
    if not steps or not isinstance(steps[0], EnsureDtype):
        steps = (described, *steps)
    if not isinstance(steps[-1], EnsureDtype):
        steps = (*steps, described)
    if steps[-1] != EnsureDtype(NETWORK_DTYPE):
        raise UnsupportedModel(f"{where} ends in {steps[-1]}; expected a network that takes {NETWORK_DTYPE}")
    return steps


def postprocessing(tensor: Tensor) -> tuple[Step, ...]:
    """Return the steps from the network's output to denoised counts, including those that the standard
    implies.

    Raises
    ------
    UnknownProcessing
    """
    where = "outputs.0.postprocessing"
    steps = _steps(tensor.postprocessing, POSTPROCESSING, where=where)
    if tensor.dtype == NETWORK_DTYPE or (steps and isinstance(steps[-1], EnsureDtype)):
        return steps
    return (*steps, _step(_cast_to(tensor), POSTPROCESSING, where))


def layout(tensor: Tensor, *, where: str, channels: tuple[str, ...] = ("one",)) -> str:
    """Return the axes of the tensor, one letter each.

    Parameters
    ----------
    channels
        Names that its channels must have, if it should have several.

    Raises
    ------
    UnsupportedModel
        When they do not describe one frame with one channel, or with these channels.
    """
    letters = [axis.letter for axis in tensor.axes]
    if "".join(letters) not in LAYOUTS:
        raise UnsupportedModel(f"{where}.axes are {letters}; expected one of {', '.join(LAYOUTS)}")
    if len(channels) > 1:
        _check_channels(tensor, channels, where=where)
        return "".join(letters)
    for axis in tensor.axes:
        if axis.type == "channel" and len(axis.channel_names or ("one",)) != 1:
            raise UnsupportedModel(f"{where} has channels {axis.channel_names}; expected one channel")
    return "".join(letters)


def _check_channels(tensor: Tensor, channels: tuple[str, ...], *, where: str) -> None:
    found = [axis.channel_names for axis in tensor.axes if axis.type == "channel"]
    if found != [channels]:
        raise UnsupportedModel(
            f"{where}: expected one channel for each class, {list(channels)}, as"
            f" config.dimstream.class_output says, got {found}"
        )


def sides(source: Tensor) -> tuple[int, int]:
    """Return step and smallest side of frames that the network accepts, for both height and width, px.

    Raises
    ------
    UnsupportedModel
        When it accepts only one size, or sizes that are not multiples of a step.
    """
    height, width = (_series(axis) for axis in source.axes[-2:])
    step = math.lcm(height.step, width.step)
    if height.min % height.step or width.min % width.step or step > MAX_STEP:
        raise UnsupportedModel(
            f"inputs.0 accepts sides from {height.min}, {width.min} in steps of {height.step}, "
            f"{width.step}; expected multiples of one step of at most {MAX_STEP} px"
        )
    return step, -(-max(height.min, width.min) // step) * step


def check_same_size(source: Tensor, output: Tensor) -> None:
    """Check that the output is as large as the input.

    Raises
    ------
    UnsupportedModel
    """
    for axis, expected in zip(output.axes[-2:], source.axes[-2:], strict=True):
        size = axis.size
        same = isinstance(size, SameAs) and (size.tensor_id, size.axis_id) == (source.id, expected.letter)
        if (
            not same
            or (isinstance(size, SameAs) and size.offset)
            or axis.halo
            or axis.scale != expected.scale
        ):
            raise UnsupportedModel(
                f"outputs.0 axis {axis.letter!r} is not declared as large as the input's; expected an "
                "output of the input's size, without halo, offset or scale"
            )


def _series(axis: Axis) -> Series:
    if isinstance(axis.size, Series):
        return axis.size
    raise UnsupportedModel(
        f"inputs.0 axis {axis.letter!r} has size {axis.size!r}; expected min and step: a model that accepts "
        "frames of any size"
    )


def _cast_to(tensor: Tensor) -> ProcessingEntry:
    return ProcessingEntry.model_validate({"id": "ensure_dtype", "kwargs": {"dtype": tensor.dtype}})


def _steps(entries: tuple[ProcessingEntry, ...], known: tuple[str, ...], *, where: str) -> tuple[Step, ...]:
    return tuple(_step(entry, known, f"{where}.{number}") for number, entry in enumerate(entries))


def _step(entry: ProcessingEntry, known: tuple[str, ...], where: str) -> Step:
    if entry.id not in known:
        raise UnknownProcessing(entry.id, where=where, known=known)
    try:
        return READERS[entry.id](entry.settings)
    except _Unsupported as error:
        raise UnknownProcessing(entry.id, where=where, known=known, detail=str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidBundle(f"{where}: {entry.id}: {field}: {first['msg']}") from error


def _scalar(value: Number) -> float:
    return value[0] if isinstance(value, tuple) else value
