"""A bundle in memory, and the draft from which one is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self, TypeVar

from dimstream_models.arithmetic import Array
from dimstream_models.bundle.processing import Clip, ScaleLinear, Step
from dimstream_models.bundle.schema import (
    SSIM_WITHOUT_CONFIG,
    THRESHOLDS_WITHOUT_CONFIG,
    DimstreamConfig,
    ErrorBarRecord,
    PrecisionThresholds,
    SsimSettings,
    Thresholds,
)
from dimstream_models.precisions import Precision

PREDICTION_THRESHOLDS = tuple(PrecisionThresholds.model_fields)
"""Thresholds that hang on the precision of predictions."""

OneStep = TypeVar("OneStep", ScaleLinear, Clip)


@dataclass(frozen=True, slots=True)
class Author:
    """Someone who made the model."""

    name: str
    affiliation: str | None = None
    orcid: str | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """Work to cite when the model is used."""

    text: str
    doi: str


UNET_RCAN = Citation(
    text="UNet-RCAN: Ebrahimi, Stephan, Kim, Carravilla, Eggeling, Jakobs, Han, Commun Biol 2023, 6, 674",
    doi="10.1038/s42003-023-05054-z",
)


@dataclass(frozen=True, slots=True, eq=False)
class ErrorBar:
    """The network that gives the standard deviation of every denoised pixel.

    It takes the raw counts and the denoising network's output, both (1, 1, H, W) float32, and gives the
    standard deviation of that output, (1, 1, H, W) float32, before rescaling.
    """

    record: ErrorBarRecord
    onnx: bytes = field(repr=False)
    test_output: Array = field(repr=False)
    """(1, 1, H, W): what it gives for the bundle's test input, after rescaling, counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model that was read, checked against its hashes and understood."""

    id: str
    """Name on the wire and in URLs: letters, digits, ``.``, ``_``, ``-``."""
    name: str
    description: str
    source: Path
    """Folder or zip that it was read from."""
    sha256: str
    """Of the ONNX file; identifies the weights."""
    onnx: bytes = field(repr=False)
    input_axes: str
    """``bcyx``, ``byx``, ``cyx`` or ``yx``: the network's input; b and c have length 1."""
    output_axes: str
    step: int
    """The network takes sides that are multiples of it, px."""
    min_side: int
    """Smallest side that the network takes, px; a multiple of `step`."""
    preprocessing: tuple[Step, ...]
    """From counts to the network's input, float32."""
    postprocessing: tuple[Step, ...]
    """From the network's output, float32, to denoised counts."""
    config: DimstreamConfig | None
    """None in bundles that other software wrote."""
    test_input: Array = field(repr=False)
    """Shaped like `input_axes`, before preprocessing."""
    test_output: Array = field(repr=False)
    """Shaped like `output_axes`, after postprocessing."""
    documentation: str = field(repr=False)
    relative_tolerance: float = 1e-3
    """Share of the test output by which the model may miss it."""
    absolute_tolerance: float = 1e-3
    """Counts that come on top of that."""
    attachments: tuple[str, ...] = ()
    """Paths inside the bundle; `read_attachment` opens them."""
    error_bar: ErrorBar | None = None
    """None: the model has no error bar."""
    precision: Precision = "float32"
    """Of the predictions that its thresholds and calibrations are for."""

    def in_precision(self, precision: Precision) -> Self:
        """The bundle with what predictions in a precision are judged by.

        Where it has no calibration for that precision, nothing is judged by predictions: what was found in
        another one is never used.
        """
        if precision == self.precision:
            return self
        if self.precision != "float32":
            raise ValueError(f"expected a bundle as it was read, got one for {self.precision}")
        config = None if self.config is None else _for_precision(self.config, precision)
        return replace(self, config=config, precision=precision)

    @property
    def gain(self) -> float | None:
        """Factor of the one ``scale_linear`` step; None when there is none, or several."""
        step = _only(ScaleLinear, self.postprocessing)
        return None if step is None else step.gain

    @property
    def offset(self) -> float | None:
        """Summand of the one ``scale_linear`` step, counts; None when there is none, or several."""
        step = _only(ScaleLinear, self.postprocessing)
        return None if step is None else step.offset

    @property
    def clip_min(self) -> float | None:
        """Smallest denoised count; None when there is no bound, or several ``clip`` steps."""
        step = _only(Clip, self.postprocessing)
        return None if step is None else step.minimum

    @property
    def classes(self) -> tuple[str, ...]:
        """What the network's channels are probabilities of; empty where it denoises."""
        output = None if self.config is None else self.config.class_output
        return () if output is None else output.classes

    def ceiling(self, dtype: str) -> float | None:
        """Largest value that a denoised pixel of this type can have; None when there is none."""
        last = self.postprocessing[-1] if self.postprocessing else None
        clipped = last.maximum if isinstance(last, Clip) else None
        bounds = [bound for bound in (clipped, 65535.0 if dtype == "uint16" else None) if bound is not None]
        return min(bounds, default=None)

    @property
    def clip_max(self) -> float | None:
        """Largest denoised count; None when there is no bound, or several ``clip`` steps."""
        step = _only(Clip, self.postprocessing)
        return None if step is None else step.maximum

    @property
    def ssim(self) -> SsimSettings:
        """The bundle's SSIM settings, or the paper's when it states none."""
        return SSIM_WITHOUT_CONFIG if self.config is None else self.config.ssim

    @property
    def thresholds(self) -> Thresholds:
        """The bundle's thresholds, or the paper's window classes and no SSIM threshold."""
        return THRESHOLDS_WITHOUT_CONFIG if self.config is None else self.config.thresholds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BundleDraft:
    """All that `write_bundle` needs. Arrays and texts as the caller has them; hashes are made there."""

    id: str
    """Lower case letters, digits, ``.``, ``_``, ``-``."""
    name: str
    """5 to 128 characters: letters, digits, space, ``_``, ``+``, ``-``, ``(``, ``)``."""
    description: str
    authors: tuple[Author, ...]
    licence: str | None
    """SPDX identifier, e.g. ``BSD-3-Clause``; None: nobody has stated one."""
    documentation: str
    """Markdown, with a section whose title holds the word *Validation*."""
    cover: bytes = field(repr=False)
    """PNG, under 500 kB, width to height 2:1 or 1:1."""
    onnx: bytes = field(repr=False)
    """Takes and gives (1, 1, H, W) float32; gives (1, C, H, W) where `config.class_output` names C classes.
    All weights inside."""
    test_input: Array = field(repr=False)
    """(1, 1, H, W), counts."""
    test_output: Array = field(repr=False)
    """(1, 1, H, W), counts: what the network gives for `test_input`, rescaled and clipped; or (1, C, H, W),
    probabilities."""
    config: DimstreamConfig
    preprocessing: tuple[Step, ...] = ()
    """Between counts and the network; casts come by themselves. Our networks that denoise have none."""
    step: int = 8
    min_side: int = 8
    gain: float = 1.0
    offset: float = 0.0
    clip_min: float | None = None
    clip_max: float | None = None
    absolute_tolerance: float | None = None
    """Counts by which the test output may be missed, at most 1 % of its largest; None: the standard's 1e-3.
    Half precision needs more."""
    attachments: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    """Path inside the bundle to the file that is copied there, e.g. the sample movie."""
    citations: tuple[Citation, ...] = (UNET_RCAN,)
    tags: tuple[str, ...] = ("denoising", "fluorescence-light-microscopy", "2d")
    version: str = "0.1.0"


def _for_precision(config: DimstreamConfig, precision: Precision) -> DimstreamConfig:
    """Thresholds and calibrations of predictions, of this precision or none; those of raw frames stay."""
    record = next((one for name, one in config.precisions.items() if name == precision), None)
    names = ("calibration", "split_calibration", "correlation_calibration")
    judged = {name: getattr(record.thresholds, name) if record else None for name in PREDICTION_THRESHOLDS}
    return config.model_copy(
        update={
            "thresholds": config.thresholds.model_copy(update=judged),
            **{name: getattr(record, name) if record else None for name in names},
        }
    )


def _only(kind: type[OneStep], steps: tuple[Step, ...]) -> OneStep | None:
    found = [step for step in steps if isinstance(step, kind)]
    return found[0] if len(found) == 1 else None
