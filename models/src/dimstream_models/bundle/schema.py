"""``config.dimstream``: what a bundle states beyond the BioImage.IO standard.

`docs/bundle.md` is the authority on the format; `FORMAT_VERSION` is its version.
"""

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from dimstream_models.arithmetic import Normalisation
from dimstream_models.precisions import LowerPrecision

FORMAT_VERSION: Final = 1

Fraction = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[float, Field(gt=0)]
ClassName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Confined(BaseModel):
    """Frozen data that refuses unknown keys, and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Growing(Confined):
    """Confined data to which keys were added within this version of the format.

    An added key is not written when it has its default, so that older versions of dimstream can read the
    bundle.
    """

    additions: ClassVar[frozenset[str]]

    @model_serializer(mode="wrap")
    def _without_silent_additions(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = dump(self)
        silent = {key for key in self.additions if dumped.get(key) in (None, {})}
        return {key: value for key, value in dumped.items() if key not in silent}


class SsimSettings(Confined):
    """How SSIM between a prediction and the one before is calculated."""

    normalisation: Normalisation
    """Normalisation of each single prediction, before rescaling."""
    data_range: float = Field(gt=0)
    """Data range of normalised predictions."""
    window: int = Field(ge=3, le=101)
    """Side of the window, px; odd."""

    @model_validator(mode="after")
    def _window_is_odd(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError(f"the SSIM window must be odd, got {self.window}")
        return self


class Thresholds(Growing):
    """Thresholds between frames that can be trusted and those that cannot, and between signal and
    background."""

    additions = frozenset({"structure_score", "split", "correlation"})
    ssim: float | None = Field(ge=-1, le=1)
    """A frame with a lower SSIM is suspect; None: frames cannot be judged."""
    background_max: float = Field(ge=0)
    """Largest window sum of a background pixel, counts."""
    signal_min: float = Field(ge=0)
    """Window sums above it are signal, counts."""
    window_px: int = Field(ge=1, le=101)
    """Side of the window that is summed, px."""
    structure_score: float | None = None
    """Raw frames with a lower structure score show only noise; None: five standard errors."""
    split: float | None = Field(default=None, ge=-1, le=1)
    """A frame is suspect when the SSIM of both halves of its photons is below this; None: not used."""
    correlation: float | None = Field(default=None, ge=-1, le=1)
    """Adjacent predictions with a lower correlation show different structures; None: not used."""

    @model_validator(mode="after")
    def _background_below_signal(self) -> Self:
        if self.background_max > self.signal_min:
            raise ValueError(
                f"background_max ({self.background_max}) must not be above signal_min ({self.signal_min})"
            )
        return self


class Calibration(Growing):
    """Record of how the SSIM threshold was determined."""

    additions = frozenset({"chosen_false_alarm_rate"})
    method: str
    """One sentence: movies, statistic, rule."""
    signal_pairs: int = Field(ge=1)
    dark_pairs: int = Field(ge=1)
    signal_quantiles: dict[str, float]
    """Quantiles, as text, and the SSIM of adjacent frames with signal."""
    dark_quantiles: dict[str, float]
    """Quantiles, as text, and the SSIM of adjacent frames of an empty field."""
    false_alarm_rate: Fraction
    """Share of signal pairs below the threshold."""
    auc: Fraction
    """Area under the ROC curve of signal against dark."""
    doses_photons: tuple[float, ...]
    """Doses of the signal movies, photons per pixel on a tubule; empty for recorded movies."""
    frame_interval_s: float | None = Field(gt=0)
    """Seconds between frames; None when the movies do not state it."""
    seed: int | None
    """Seed of simulated movies; None for recorded movies."""
    note: str = ""
    chosen_false_alarm_rate: float | None = Field(default=None, gt=0, lt=1)
    """The rate that was requested; `false_alarm_rate` is the rate that was achieved."""


class ScoreCalibration(Growing):
    """Record of the distribution of a score of frames, or of pairs of frames, with and without a sample."""

    additions = frozenset({"unrelated_frames", "unrelated_quantiles", "unrelated_rate"})
    method: str
    """One sentence: movies, statistic, rule."""
    signal_frames: int = Field(ge=1)
    dark_frames: int = Field(ge=1)
    signal_quantiles: dict[str, float]
    """Quantiles, as text, and the score of frames with signal."""
    dark_quantiles: dict[str, float]
    """Quantiles, as text, and the score of frames of an empty field."""
    false_alarm_rate: Fraction
    """Share of signal frames below the threshold."""
    auc: Fraction
    """Area under the ROC curve of signal against dark."""
    note: str = ""
    unrelated_frames: int | None = Field(default=None, ge=1)
    unrelated_quantiles: dict[str, float] | None = None
    """Quantiles, as text, and the score of two different fields."""
    unrelated_rate: Fraction | None = None
    """Share of pairs of different fields at or above the threshold."""


class RescalingRecord(Confined):
    """Record of how gain and offset were determined: on training images only."""

    method: Literal["least_squares", "clipped_quantiles", "normalisation"]
    """A straight line through all pixels; through pixels clipped to quantiles (paper); or no fit, because
    there are no clean images: then the gain is the divisor of the network's training."""
    data: str
    """The data of the fit, in one sentence."""
    images: int = Field(ge=0)
    pixels: int = Field(ge=0)
    """Number of pixels in the fit."""
    r_squared: float | None = Field(default=None, le=1)
    """Share of the truth's variance that the line explains."""
    rms_error: float | None = Field(default=None, ge=0)
    """Root mean square of truth minus rescaled prediction, counts."""
    prediction_bounds: tuple[float, float] | None = None
    """Quantiles to which predictions were clipped before the fit."""
    truth_bounds: tuple[float, float] | None = None
    """Quantiles to which truths were clipped before the fit, counts."""


class WindowCalibration(Confined):
    """Record of how the thresholds of window sums were measured on a movie without a sample."""

    method: str
    """One sentence: movies, statistic, rule."""
    dark_frames: int = Field(ge=1)
    dark_quantiles: dict[str, float]
    """Quantiles, as text, and the window sum of the dark movie, counts."""
    background_share: Fraction
    """Share of the dark movie's windows that are classed as background."""
    signal_share: Fraction
    """Share of the dark movie's windows that are classed as signal."""
    note: str = ""


class ErrorBarCoverage(Confined):
    """Share of pixels of held-out data whose true value was within the error bar."""

    dose_photons: tuple[float, float]
    """Lowest and highest dose of the images, photons per pixel on a structure."""
    structure: Literal["empty", "edge", "centre"]
    pixels: int = Field(ge=1)
    within_one: Fraction
    """Share of pixels within one standard deviation."""
    within_two: Fraction
    """Share of pixels within two standard deviations."""


class ErrorBarRecord(Confined):
    """The second network of a bundle, which predicts the standard deviation of every denoised pixel."""

    source: str
    """Its ONNX file, one of the attachments: from raw counts and network output to standard deviation."""
    test_output: str
    """Another attachment: the standard deviation for the test input, counts."""
    step: int = Field(ge=1, le=4096)
    """It accepts sides that are multiples of this, px."""
    method: str
    """One sentence: the data and method of its fit."""
    photons_per_count: float = Field(gt=0)
    """Photons of the raw frame that one denoised count stands for."""
    seed: int = Field(ge=0)
    coverage: tuple[ErrorBarCoverage, ...] = ()
    """Coverage on held-out simulated images; empty when it was fitted on recorded movies."""
    note: str = ""


class Difference(Confined):
    """Difference between predictions in a lower precision and in float32, over the pixels of some frames."""

    movies: str
    """Where the frames come from."""
    frames: int = Field(ge=1)
    largest: float = Field(ge=0)
    quantile_999: float = Field(ge=0)
    mean: float = Field(ge=0)


class PrecisionThresholds(Confined):
    """Thresholds for predictions in one precision; thresholds for raw frames hold in every precision."""

    ssim: float = Field(ge=-1, le=1)
    split: float | None = Field(default=None, ge=-1, le=1)
    correlation: float | None = Field(default=None, ge=-1, le=1)


class PrecisionRecord(Confined):
    """What a bundle states of predictions with rounded factors, compared with float32."""

    runtime: str
    """The software that ran the network, and its version."""
    processor: str
    emulated: bool
    """Whether the precision was emulated: the processor lacks it, and rounded factors were multiplied in
    float32."""
    signal: Difference
    """On frames with signal, as a share of the largest float32 prediction of each."""
    dark: Difference
    """On frames of an empty field, in standard deviations of the float32 prediction of each."""
    thresholds: PrecisionThresholds
    calibration: Calibration
    split_calibration: ScoreCalibration | None = None
    """None when `thresholds.split` is."""
    correlation_calibration: ScoreCalibration | None = None
    """None when `thresholds.correlation` is."""


class InputNormalisation(Confined):
    """How the network scales its input inside its graph. For information only: no other code applies it."""

    kind: Literal["fixed", "maximum", "quantile"]
    value: float | None = None
    """The divisor for fixed, the quantile for quantile."""

    @model_validator(mode="after")
    def _value_belongs_to_kind(self) -> Self:
        if (self.value is None) != (self.kind == "maximum"):
            raise ValueError("value is the divisor (fixed) or the quantile (quantile); maximum has none")
        return self


class Provenance(Growing):
    """What is needed to reproduce the model."""

    additions = frozenset({"data"})
    command: str
    seed: int
    versions: dict[str, str]
    """Distributions and their versions."""
    git_commit: str | None
    settings: dict[str, JsonValue]
    data: dict[str, str] = Field(default_factory=dict)
    """Training data and their hashes."""


class ClassOutput(Confined):
    """The output of a network that classifies each pixel instead of denoising."""

    classes: tuple[ClassName, ...] = Field(min_length=2, max_length=16)
    """Names of the output's channels, which are probabilities; the first is ``background``."""
    frames: Literal["denoised", "raw", "either"]
    """Kind of frames that it was trained on."""
    halo_px: int = Field(ge=0, le=4096)
    """Largest distance at which a pixel affects the class of another. Tiles with this overlap give the same
    result as the whole frame."""

    @model_validator(mode="after")
    def _classes_are_told_apart(self) -> Self:
        if self.classes[0] != "background" or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must differ and begin with background, got {', '.join(self.classes)}")
        return self


class DimstreamConfig(Growing):
    """``config.dimstream`` of a bundle."""

    additions = frozenset(
        {
            "rescaling",
            "window_calibration",
            "structure_calibration",
            "split_calibration",
            "correlation_calibration",
            "error_bar",
            "pixel_sizes_nm",
            "class_output",
            "precisions",
        }
    )
    format_version: Literal[1] = FORMAT_VERSION
    ssim: SsimSettings
    thresholds: Thresholds
    calibration: Calibration | None = None
    rescaling: RescalingRecord | None = None
    """None: dimstream did not fit gain and offset, or there are none."""
    window_calibration: WindowCalibration | None = None
    """None: the thresholds of window sums are the paper's, or were chosen by hand."""
    structure_calibration: ScoreCalibration | None = None
    """None: the structure score was not measured on movies."""
    split_calibration: ScoreCalibration | None = None
    """None when `thresholds.split` is."""
    correlation_calibration: ScoreCalibration | None = None
    """None when `thresholds.correlation` is."""
    error_bar: ErrorBarRecord | None = None
    """None: the model has no error bar."""
    class_output: ClassOutput | None = None
    """None: the model denoises."""
    input_normalisation: InputNormalisation | None = None
    pixel_size_nm: float | None = Field(default=None, gt=0)
    pixel_sizes_nm: tuple[Length, Length] | None = None
    """Smallest and largest pixels of the structures in training; None: not stated."""
    dose_photons: tuple[float, float] | None = None
    """Lowest and highest dose in training, photons per pixel on a tubule."""
    provenance: Provenance | None = None
    precisions: dict[LowerPrecision, PrecisionRecord] = Field(default_factory=dict)
    """Thresholds for frames whose predictions have another precision than float32."""
    quality: dict[str, float] = Field(default_factory=dict)
    """Figures of merit and their values; the bundle's README says how each was measured."""
    files: dict[str, Sha256] = Field(default_factory=dict)
    """sha256 of files that the standard has no field for; `write_bundle` fills it in."""

    @model_validator(mode="after")
    def _threshold_has_its_record(self) -> Self:
        if self.thresholds.ssim is not None and self.calibration is None:
            raise ValueError("thresholds.ssim needs its calibration record; without one it must be null")
        if self.pixel_sizes_nm is not None and self.pixel_sizes_nm[0] > self.pixel_sizes_nm[1]:
            raise ValueError("pixel_sizes_nm is [smallest, largest]")
        if self.dose_photons is not None and self.dose_photons[0] > self.dose_photons[1]:
            raise ValueError("dose_photons is [lowest, highest]")
        return self

    @model_validator(mode="after")
    def _classes_are_not_judged(self) -> Self:
        if self.class_output is None:
            return self
        if self.pixel_size_nm is None:
            raise ValueError(
                "class_output needs pixel_size_nm: images are resampled to this pixel size first"
            )
        judged = ("calibration", "rescaling", "structure_calibration", "split_calibration", "error_bar")
        if stated := [name for name in judged if getattr(self, name) is not None]:
            raise ValueError(f"a model of classes does not denoise: {stated[0]} must be null")
        if (self.thresholds.ssim, self.thresholds.split, self.thresholds.correlation) != (None, None, None):
            raise ValueError("a model of classes is not judged: ssim, split and correlation must be null")
        return self


SSIM_WITHOUT_CONFIG = SsimSettings(normalisation="maximum", data_range=1.0, window=7)
"""For bundles without ``config.dimstream``: as in the paper."""

THRESHOLDS_WITHOUT_CONFIG = Thresholds(ssim=None, background_max=5, signal_min=25, window_px=10)
"""For bundles without ``config.dimstream``: the paper's window classes, and no SSIM threshold."""
