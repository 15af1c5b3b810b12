"""A bundle in memory, and the draft from which a bundle is written."""

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
"""Thresholds that depend on the precision of predictions."""

OneStep = TypeVar("OneStep", ScaleLinear, Clip)


@dataclass(frozen=True, slots=True)
class Author:
    """Someone who made the model."""

    name: str
    affiliation: str | None = None
    orcid: str | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A publication to cite when the model is used."""

    text: str
    doi: str


UNET_RCAN = Citation(
    text="UNet-RCAN: Ebrahimi, Stephan, Kim, Carravilla, Eggeling, Jakobs, Han, Commun Biol 2023, 6, 674",
    doi="10.1038/s42003-023-05054-z",
)


@dataclass(frozen=True, slots=True, eq=False)
class ErrorBar:
    """The network that predicts the standard deviation of every denoised pixel.

    Its inputs are the raw counts and the denoising network's output, both (1, 1, H, W) float32. It returns
    the standard deviation of that output, (1, 1, H, W) float32, before rescaling.
    """

    record: ErrorBarRecord
    onnx: bytes = field(repr=False)
    test_output: Array = field(repr=False)
    """(1, 1, H, W), counts: its output for the bundle's test input, after rescaling."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model whose files were read, checked by hash and parsed."""

    id: str
    """Name in messages and URLs: letters, digits, ``.``, ``_``, ``-``."""
    name: str
    description: str
    source: Path
    """Folder or zip from which it was read."""
    sha256: str
    """Hash of the ONNX file; identifies the weights."""
    onnx: bytes = field(repr=False)
    input_axes: str
    """Axes of the network's input, ``bcyx``, ``byx``, ``cyx`` or ``yx``; b and c have length 1."""
    output_axes: str
    step: int
    """The network accepts sides that are multiples of this, px."""
    min_side: int
    """Smallest side that the network accepts, px; a multiple of `step`."""
    preprocessing: tuple[Step, ...]
    """Steps from counts to the network's input, float32."""
    postprocessing: tuple[Step, ...]
    """Steps from the network's output, float32, to denoised counts."""
    config: DimstreamConfig | None
    """None in bundles that other software wrote."""
    test_input: Array = field(repr=False)
    """Test input before preprocessing, with the axes `input_axes`, counts."""
    test_output: Array = field(repr=False)
    """Test output after postprocessing, with the axes `output_axes`, counts."""
    documentation: str = field(repr=False)
    relative_tolerance: float = 1e-3
    """Largest difference from the test output, as a share of its value."""
    absolute_tolerance: float = 1e-3
    """Largest difference in addition to that, counts."""
    attachments: tuple[str, ...] = ()
    """Paths inside the bundle; `read_attachment` opens them."""
    error_bar: ErrorBar | None = None
    """None: the model has no error bar."""
    precision: Precision = "float32"
    """Precision of the predictions for which its thresholds and calibrations hold."""

    def in_precision(self, precision: Precision) -> Self:
        """Return the bundle with the thresholds for predictions in another precision.

        Without a calibration for that precision, predictions are not judged: thresholds of another precision
        are never used.
        """
        if precision == self.precision:
            return self
        if self.precision != "float32":
            raise ValueError(f"expected a bundle with its float32 thresholds, got one for {self.precision}")
        config = None if self.config is None else _for_precision(self.config, precision)
        return replace(self, config=config, precision=precision)

    @property
    def gain(self) -> float | None:
        """Factor of the only ``scale_linear`` step; None when there is none, or more than one."""
        step = _only(ScaleLinear, self.postprocessing)
        return None if step is None else step.gain

    @property
    def offset(self) -> float | None:
        """Offset of the only ``scale_linear`` step, counts; None when there is none, or more than one."""
        step = _only(ScaleLinear, self.postprocessing)
        return None if step is None else step.offset

    @property
    def clip_min(self) -> float | None:
        """Smallest denoised count; None without a bound, or with several ``clip`` steps."""
        step = _only(Clip, self.postprocessing)
        return None if step is None else step.minimum

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes whose probabilities the network returns; empty when it denoises."""
        output = None if self.config is None else self.config.class_output
        return () if output is None else output.classes

    def ceiling(self, dtype: str) -> float | None:
        """Largest value that a denoised pixel of this type can have; None without a bound."""
        last = self.postprocessing[-1] if self.postprocessing else None
        clipped = last.maximum if isinstance(last, Clip) else None
        bounds = [bound for bound in (clipped, 65535.0 if dtype == "uint16" else None) if bound is not None]
        return min(bounds, default=None)

    @property
    def clip_max(self) -> float | None:
        """Largest denoised count; None without a bound, or with several ``clip`` steps."""
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
    """Everything that `write_bundle` needs; it calculates the hashes itself."""

    id: str
    """Lower case letters, digits, ``.``, ``_``, ``-``."""
    name: str
    """5 to 128 letters, digits, spaces, ``_``, ``+``, ``-``, ``(`` or ``)``."""
    description: str
    authors: tuple[Author, ...]
    licence: str | None
    """SPDX identifier, e.g. ``BSD-3-Clause``; None: not stated."""
    documentation: str
    """Markdown, with a section whose title contains the word *Validation*."""
    cover: bytes = field(repr=False)
    """PNG, under 500 kB, width to height 2:1 or 1:1."""
    onnx: bytes = field(repr=False)
    """Input and output are (1, 1, H, W) float32; the output is (1, C, H, W) if `config.class_output` names C
    classes. It contains all weights."""
    test_input: Array = field(repr=False)
    """(1, 1, H, W), counts."""
    test_output: Array = field(repr=False)
    """The network's output for `test_input`: (1, 1, H, W), counts, rescaled and clipped; or (1, C, H, W),
    probabilities."""
    config: DimstreamConfig
    preprocessing: tuple[Step, ...] = ()
    """Steps from counts to the network's input; casts are added automatically. Our denoising networks have
    none."""
    step: int = 8
    min_side: int = 8
    gain: float = 1.0
    offset: float = 0.0
    clip_min: float | None = None
    clip_max: float | None = None
    absolute_tolerance: float | None = None
    """Largest difference from the test output, counts; at most 1 % of its largest value. None: the standard's
    1e-3. Half precision needs more."""
    attachments: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    """Paths inside the bundle, and the files that are copied there, e.g. the sample movie."""
    citations: tuple[Citation, ...] = (UNET_RCAN,)
    tags: tuple[str, ...] = ("denoising", "fluorescence-light-microscopy", "2d")
    version: str = "0.1.0"


def _for_precision(config: DimstreamConfig, precision: Precision) -> DimstreamConfig:
    """Return the config with the predictions' thresholds of this precision, or none; those of raw frames are
    kept."""
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
