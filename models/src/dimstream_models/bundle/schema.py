"""``config.dimstream``: what a bundle says beyond the BioImage.IO standard.

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
    """Frozen data that refuses keys it does not know and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Growing(Confined):
    """Confined data to which keys were added within this version of the format.

    An added key is left out when it says nothing, so that older dimstream reads what does not need it.
    """

    additions: ClassVar[frozenset[str]]

    @model_serializer(mode="wrap")
    def _without_silent_additions(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = dump(self)
        silent = {key for key in self.additions if dumped.get(key) in (None, {})}
        return {key: value for key, value in dumped.items() if key not in silent}


class SsimSettings(Confined):
    """How SSIM between a prediction and the one before it is taken."""

    normalisation: Normalisation
    """Applied to each prediction on its own, before rescaling."""
    data_range: float = Field(gt=0)
    """Of normalised predictions."""
    window: int = Field(ge=3, le=101)
    """Side of the window, px; odd."""

    @model_validator(mode="after")
    def _window_is_odd(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError(f"the SSIM window must be odd, got {self.window}")
        return self


class Thresholds(Growing):
    """What separates frames that can be trusted from those that cannot, and signal from background."""

    additions = frozenset({"structure_score", "split", "correlation"})
    ssim: float | None = Field(ge=-1, le=1)
    """Below it a frame is suspect; None: no frame can be judged."""
    background_max: float = Field(ge=0)
    """Largest window sum of a background pixel, counts."""
    signal_min: float = Field(ge=0)
    """Window sums above it are signal, counts."""
    window_px: int = Field(ge=1, le=101)
    """Side of the window that is summed, px."""
    structure_score: float | None = None
    """Raw frames whose structure score is below it show no more than noise; None: five standard errors."""
    split: float | None = Field(default=None, ge=-1, le=1)
    """SSIM of the predictions of both halves of a frame's photons below it is suspect; None: not judged by
    it."""
    correlation: float | None = Field(default=None, ge=-1, le=1)
    """Adjacent predictions whose correlation is below it do not show the same structures; None: not judged by
    it."""

    @model_validator(mode="after")
    def _background_below_signal(self) -> Self:
        if self.background_max > self.signal_min:
            raise ValueError(
                f"background_max ({self.background_max}) must not be above signal_min ({self.signal_min})"
            )
        return self


class Calibration(Growing):
    """Record of how the SSIM threshold was found."""

    additions = frozenset({"chosen_false_alarm_rate"})
    method: str
    """One sentence: movies, statistic, rule."""
    signal_pairs: int = Field(ge=1)
    dark_pairs: int = Field(ge=1)
    signal_quantiles: dict[str, float]
    """Quantile, as text, to SSIM of adjacent frames with signal."""
    dark_quantiles: dict[str, float]
    """Quantile, as text, to SSIM of adjacent frames of an empty field."""
    false_alarm_rate: Fraction
    """Share of signal pairs below the threshold."""
    auc: Fraction
    """Area under the curve of signal against dark."""
    doses_photons: tuple[float, ...]
    """Doses of the signal movies, photons on a tubule; empty when they are real."""
    frame_interval_s: float | None = Field(gt=0)
    """None when the movies state none."""
    seed: int | None
    """Of simulated movies; None when they are real."""
    note: str = ""
    chosen_false_alarm_rate: float | None = Field(default=None, gt=0, lt=1)
    """What was asked for; `false_alarm_rate` is what came of it."""


class ScoreCalibration(Growing):
    """Record of how a score of frames, or of pairs of them, is distributed with and without a sample."""

    additions = frozenset({"unrelated_frames", "unrelated_quantiles", "unrelated_rate"})
    method: str
    """One sentence: movies, statistic, rule."""
    signal_frames: int = Field(ge=1)
    dark_frames: int = Field(ge=1)
    signal_quantiles: dict[str, float]
    """Quantile, as text, to score of frames with signal."""
    dark_quantiles: dict[str, float]
    """Quantile, as text, to score of frames of an empty field."""
    false_alarm_rate: Fraction
    """Share of signal frames below the threshold."""
    auc: Fraction
    """Area under the curve of signal against dark."""
    note: str = ""
    unrelated_frames: int | None = Field(default=None, ge=1)
    unrelated_quantiles: dict[str, float] | None = None
    """Quantile, as text, to score of two different fields."""
    unrelated_rate: Fraction | None = None
    """Share of those at or above the threshold."""


class RescalingRecord(Confined):
    """Record of how gain and offset were found: on training images only."""

    method: Literal["least_squares", "clipped_quantiles", "normalisation"]
    """A straight line through all pixels; through pixels clipped to quantiles (paper); or no fit, for want
    of clean images: the gain is the divisor that the network's training used."""
    data: str
    """What it was fitted on, in one sentence."""
    images: int = Field(ge=0)
    pixels: int = Field(ge=0)
    """That took part in the fit."""
    r_squared: float | None = Field(default=None, le=1)
    """Share of the truth's variance that the line explains."""
    rms_error: float | None = Field(default=None, ge=0)
    """Root mean square of truth minus rescaled prediction, counts."""
    prediction_bounds: tuple[float, float] | None = None
    """Quantiles to which predictions were clipped before the fit."""
    truth_bounds: tuple[float, float] | None = None
    """Quantiles to which truths were clipped before the fit, counts."""


class WindowCalibration(Confined):
    """Record of how the window sums' thresholds were measured on a movie without a sample."""

    method: str
    """One sentence: movies, statistic, rule."""
    dark_frames: int = Field(ge=1)
    dark_quantiles: dict[str, float]
    """Quantile, as text, to window sum of the dark movie, counts."""
    background_share: Fraction
    """Of the dark movie's windows, those that are called background."""
    signal_share: Fraction
    """Of the dark movie's windows, those that are called signal."""
    note: str = ""


class ErrorBarCoverage(Confined):
    """How many pixels of held-back data had their true value inside the error bar."""

    dose_photons: tuple[float, float]
    """Lowest and highest dose of the images, photons on a structure."""
    structure: Literal["empty", "edge", "centre"]
    pixels: int = Field(ge=1)
    within_one: Fraction
    """Share of pixels within one standard deviation."""
    within_two: Fraction
    """Share of pixels within two standard deviations."""


class ErrorBarRecord(Confined):
    """The second network of a bundle, which gives the standard deviation of every denoised pixel."""

    source: str
    """Its ONNX file, one of the attachments: raw counts and network output to standard deviation."""
    test_output: str
    """An attachment too: the standard deviation for the test input, counts."""
    step: int = Field(ge=1, le=4096)
    """It takes sides that are multiples of it, px."""
    method: str
    """One sentence: on what it was fitted, and how."""
    photons_per_count: float = Field(gt=0)
    """Photons of the raw frame that one denoised count stands for."""
    seed: int = Field(ge=0)
    coverage: tuple[ErrorBarCoverage, ...] = ()
    """On held-back simulated images; empty when it was fitted on recorded movies."""
    note: str = ""


class Difference(Confined):
    """How far predictions in a lower precision are from those in float32, over the pixels of some frames."""

    movies: str
    """Where the frames come from."""
    frames: int = Field(ge=1)
    largest: float = Field(ge=0)
    quantile_999: float = Field(ge=0)
    mean: float = Field(ge=0)


class PrecisionThresholds(Confined):
    """What is judged of predictions; what is judged of raw frames holds in every precision."""

    ssim: float = Field(ge=-1, le=1)
    split: float | None = Field(default=None, ge=-1, le=1)
    correlation: float | None = Field(default=None, ge=-1, le=1)


class PrecisionRecord(Confined):
    """What a bundle says of predictions whose factors were rounded, next to those in float32."""

    runtime: str
    """What ran the network, and its version."""
    processor: str
    emulated: bool
    """Whether the processor lacks the precision, and rounded factors were multiplied in float32."""
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
    """How the network scales its input inside the graph; informative, nobody else applies it."""

    kind: Literal["fixed", "maximum", "quantile"]
    value: float | None = None
    """The divisor when fixed, the quantile when quantile."""

    @model_validator(mode="after")
    def _value_belongs_to_kind(self) -> Self:
        if (self.value is None) != (self.kind == "maximum"):
            raise ValueError("value is the divisor (fixed) or the quantile (quantile); maximum has none")
        return self


class Provenance(Growing):
    """How to make the model again."""

    additions = frozenset({"data"})
    command: str
    seed: int
    versions: dict[str, str]
    """Distribution to version."""
    git_commit: str | None
    settings: dict[str, JsonValue]
    data: dict[str, str] = Field(default_factory=dict)
    """What it was trained on to its hash."""


class ClassOutput(Confined):
    """What a network gives that says of each pixel what it shows, in place of one that denoises."""

    classes: tuple[ClassName, ...] = Field(min_length=2, max_length=16)
    """Names of the output's channels, which are probabilities; the first is ``background``."""
    frames: Literal["denoised", "raw", "either"]
    """What it was trained on."""
    halo_px: int = Field(ge=0, le=4096)
    """How far away a pixel may change the class of another: tiles that overlap by as much give what the whole
    frame gives."""

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
    """None: gain and offset were not fitted by dimstream, or there are none."""
    window_calibration: WindowCalibration | None = None
    """None: the window sums' thresholds are the paper's, or somebody's choice."""
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
    """Smallest and largest pixels that the model knows, as training showed it structures on them; None: not
    stated."""
    dose_photons: tuple[float, float] | None = None
    """Lowest and highest dose that the model was trained for, photons on a tubule."""
    provenance: Provenance | None = None
    precisions: dict[LowerPrecision, PrecisionRecord] = Field(default_factory=dict)
    """What frames are judged by whose predictions were made in another precision than float32."""
    quality: dict[str, float] = Field(default_factory=dict)
    """Figure of merit to number; the bundle's README says how each was measured."""
    files: dict[str, Sha256] = Field(default_factory=dict)
    """sha256 of files for which the standard has no place; `write_bundle` fills it in."""

    @model_validator(mode="after")
    def _threshold_has_its_record(self) -> Self:
        if self.thresholds.ssim is not None and self.calibration is None:
            raise ValueError("thresholds.ssim wants its calibration record; without one it must be null")
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
            raise ValueError("class_output wants pixel_size_nm: images are put onto such pixels first")
        judged = ("calibration", "rescaling", "structure_calibration", "split_calibration", "error_bar")
        if stated := [name for name in judged if getattr(self, name) is not None]:
            raise ValueError(f"a model of classes denoises nothing: {stated[0]} must be null")
        if (self.thresholds.ssim, self.thresholds.split, self.thresholds.correlation) != (None, None, None):
            raise ValueError("a model of classes is not judged: ssim, split and correlation must be null")
        return self


SSIM_WITHOUT_CONFIG = SsimSettings(normalisation="maximum", data_range=1.0, window=7)
"""For bundles without ``config.dimstream``: as the paper's predictions are compared."""

THRESHOLDS_WITHOUT_CONFIG = Thresholds(ssim=None, background_max=5, signal_min=25, window_px=10)
"""For bundles without ``config.dimstream``: the paper's window classes, and no frame judged by SSIM."""
