"""The model card: a bundle's README, written from the bundle's own records."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from dimstream_models.bundle import (
    BundleDraft,
    Calibration,
    DimstreamConfig,
    InputNormalisation,
    PrecisionRecord,
    RescalingRecord,
    ScoreCalibration,
    WindowCalibration,
)
from dimstream_models.precisions import LowerPrecision
from dimstream_models.training.error_bars.card_section import error_bar_section
from dimstream_models.training.errors import InvalidRecipe
from dimstream_models.training.export.warnings import HEADING, warnings_section
from dimstream_models.training.stress.writing import PREFIX, card_section

FIELD_PICTURE = "pictures/field.png"
LOSS_CURVE = "training/loss.png"
CALIBRATION = "## Calibration"
WARNINGS = HEADING.removeprefix("## ")
HALF_ERROR = "float16_error"
"""Name of a figure: largest difference from float32, as a share of the largest prediction."""
PRECISIONS = "## Lower precisions"
MARK = "<!-- A model card of dimstream-train, which may write it again. -->"

_RESCALED_BY = {
    "least_squares": "a straight line fitted by least squares through all pixels of",
    "clipped_quantiles": "a straight line fitted through the pixels, clipped at 1st and 99th quantile, of",
    "normalisation": "from the normalisation alone, without a fit:",
}


_YARDSTICKS = {
    "set_aside": "by photons set aside",
    "next_frame": "by the next frame",
    "others": "by the mean of the others",
}


class _Measured(dict[str, float]):
    """Figures by name, for a text that may contain figures that were not measured."""

    def __missing__(self, name: str) -> str:
        return "not measured"


def read_template(path: Path) -> str:
    """Return the text of a README with `{figures}`.

    Raises
    ------
    InvalidRecipe
        When it is not text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRecipe(f"expected a README at {path}, got: {error}") from error


def fill(template: str, figures: Mapping[str, float]) -> str:
    """Return a README with numbers in place of each `{figure}`; missing figures become "not measured".

    Raises
    ------
    InvalidRecipe
        When braces in it do not contain the name of a figure.
    """
    try:
        return template.format_map(_Measured(figures))
    except (ValueError, LookupError, AttributeError) as error:
        raise InvalidRecipe(
            f"expected a README in which braces hold the name of a figure, got: {error}; write {{{{ and }}}}"
            " for plain braces"
        ) from error


def write_card(draft: BundleDraft) -> str:
    """Return the README of a bundle without its own README."""
    config = draft.config
    picture = f"![noisy, restored, truth]({FIELD_PICTURE})" if FIELD_PICTURE in draft.attachments else ""
    parts = (
        f"# {draft.name}",
        draft.description,
        warnings_section(draft),
        picture,
        "\n".join(_usage(config)),
        _adapted(config),
        calibration_section(draft),
        _validation({name: value for name, value in config.quality.items() if not name.startswith(PREFIX)}),
        card_section(config.quality),
        error_bar_section(config.error_bar),
        half_section(config.quality),
        precision_section(config.precisions),
        _limits(config),
        _training(config, draft.attachments),
        MARK,
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def renewed(draft: BundleDraft) -> str:
    """Return the README of a draft after a new calibration: a new card, or the old text with a new
    section."""
    if MARK in draft.documentation:
        return write_card(draft)
    section = f"{calibration_section(draft)}\n\nAll other figures on this page were measured before.\n\n"
    return with_warnings(with_section(draft.documentation, CALIBRATION, section, after=WARNINGS), draft)


def with_warnings(documentation: str, draft: BundleDraft) -> str:
    """Return the user's own README with the bundle's warnings, if any, before its first section."""
    section = warnings_section(draft)
    return with_section(documentation, HEADING, f"{section}\n\n" if section else "")


def with_section(documentation: str, heading: str, section: str, *, after: str = "") -> str:
    """Return the text with a section, which replaces one with the same heading or is added before the first
    one.

    Parameters
    ----------
    after : str
        Title of a section that must remain before it.
    """
    found = re.search(rf"^{heading}$.*?(?=^## |\Z)", documentation, re.MULTILINE | re.DOTALL)
    first = found or re.search(rf"^## (?!{re.escape(after)}$)", documentation, re.MULTILINE)
    start = first.start() if first else len(documentation)
    return documentation[:start] + section + documentation[found.end() if found else start :]


def calibration_section(draft: BundleDraft) -> str:
    """Return the section on the conversion of predictions to counts, and on the criteria for suspect
    frames."""
    config = draft.config
    parts = (
        CALIBRATION,
        _rescaling(config.rescaling, draft.gain, draft.offset),
        _threshold(config.thresholds.ssim, config.calibration),
        *_scores(config),
        _windows(config),
    )
    return "\n\n".join(parts)


def half_section(quality: Mapping[str, float]) -> str:
    """Return the section on half precision; empty for a bundle in float32."""
    if HALF_ERROR not in quality:
        return ""
    return (
        "## Half precision\n\nFor GPUs: from the first convolution on, weights and arithmetic are float16;"
        " input, normalisation, the means of channel attention and the output are float32. Predictions "
        f"differ from the float32 network's by at most {quality[HALF_ERROR]:.2g} of the largest prediction, "
        "measured in half precision on the example frame and on Poisson noise. On a CPU it is slower."
    )


def precision_section(records: Mapping[LowerPrecision, PrecisionRecord]) -> str:
    """Return the section on predictions with rounded factors; empty if none were measured."""
    if not records:
        return ""
    return f"{PRECISIONS}\n\n" + "\n\n".join(_measured_in(name, one) for name, one in records.items())


def _measured_in(precision: str, record: PrecisionRecord) -> str:
    signal, dark = record.signal, record.dark
    emulated = ", which emulates it" if record.emulated else ""
    return (
        f"**{precision}**, {record.runtime} on {record.processor}{emulated}. Predictions differ from "
        f"float32 by at most {signal.largest:.2g} of the largest prediction, by at most "
        f"{signal.quantile_999:.2g} in 99.9 % of the pixels, and by {signal.mean:.2g} on average "
        f"({signal.frames} frames with"
        f" signal); those of {dark.frames} empty fields by {dark.largest:.2g}, {dark.quantile_999:.2g} and"
        f" {dark.mean:.2g} of their own standard deviation. Frames are suspect below an SSIM of"
        f" {record.thresholds.ssim:g} (area under the curve {record.calibration.auc:g})."
    )


def _usage(config: DimstreamConfig) -> Iterator[str]:
    yield (
        f"- **Input**: photon counts, one frame, (H, W), not normalised. {_divided(config)}. Camera values "
        "must be converted to photons first (minus offset, divided by gain)."
    )
    yield "- **Output**: the prediction on the scale described in *Calibration*, clipped to 0 and 65535."
    if config.pixel_size_nm is not None:
        yield f"- **Pixels** of {config.pixel_size_nm:g} nm."
    if config.pixel_sizes_nm is not None:
        smallest, largest = config.pixel_sizes_nm
        yield f"- **Pixel sizes that it knows**: {smallest:g} to {largest:g} nm."
    if config.dose_photons is not None:
        low, high = config.dose_photons
        yield f"- **Dose**: {low:g} to {high:g} photons on a structure's pixel."


def _adapted(config: DimstreamConfig) -> str:
    """Return the section on the movies to which a network was adapted; empty for other networks."""
    made = config.provenance
    if made is None or not made.settings.get("movies"):
        return ""
    start = [f"{name[6:]} ({sha256[:12]})" for name, sha256 in made.data.items() if name.startswith("start ")]
    movies = [f"{name} (sha256 {sha256[:16]})" for name, sha256 in made.data.items() if not _is_own(name)]
    gains = "; ".join(
        f"{title} {config.quality[f'adapted_{kind}_gain_db']:+.2f} dB"
        for kind, title in _YARDSTICKS.items()
        if f"adapted_{kind}_gain_db" in config.quality
    )
    return (
        f"## Adapted\n\nThe network started as {', '.join(start)} and was adapted to {', '.join(movies)}: "
        "to the photons of two thirds of the frames, without clean images. On frames and photons that were "
        f"not used for training, it is better than before ({gains}). **It is only for this sample, label "
        "and microscope**: on others it may be worse than the initial bundle."
    )


def _is_own(name: str) -> bool:
    return name == "movies" or name.startswith("start ")


def _divided(config: DimstreamConfig) -> str:
    match config.input_normalisation:
        case InputNormalisation(kind="fixed", value=value):
            return f"The network divides them by {value:g} itself, always"
        case InputNormalisation(kind="quantile", value=value):
            return f"The network divides each frame by its {value:g} quantile itself"
        case InputNormalisation(kind="maximum"):
            return "The network divides each frame by its maximum itself: one bright pixel rescales the frame"
    return "The network normalises them itself"


def _rescaling(record: RescalingRecord | None, gain: float, offset: float) -> str:
    if record is None and (gain, offset) == (1.0, 0.0):
        return (
            "There is no scale and no offset: predictions are delivered on the network's own scale, not in "
            "counts. `dimstream-train calibrate --pairs` fits both."
        )
    line = f"Denoised counts are {gain:g} times the prediction {offset:+g}"
    if record is None:
        return f"{line}; the origin of this line is not recorded."
    text = f"{line}: {_RESCALED_BY[record.method]} {record.data}"
    if record.r_squared is None or record.rms_error is None:
        return f"{text}."
    return (
        f"{text} ({record.images} images, {record.pixels} pixels; it explains {record.r_squared:.4f} of the "
        f"variance, with a root mean square error of {record.rms_error:.3g} counts)."
    )


def _threshold(threshold: float | None, record: Calibration | None) -> str:
    if threshold is None or record is None:
        return (
            "Frames are not judged, because there is no threshold for the SSIM of adjacent predictions. "
            "`dimstream-train calibrate --signal MOVIE --dark MOVIE` determines one."
        )
    spreads = ", ".join(
        f"{kind} {values.get('0.05', float('nan')):.3f} to {values.get('0.95', float('nan')):.3f}"
        for kind, values in (("signal", record.signal_quantiles), ("dark", record.dark_quantiles))
    )
    return (
        f"A frame is suspect if the SSIM with the prediction before is below {threshold:g}. "
        f"{record.method}. 5 to 95 % quantiles of {record.signal_pairs} signal and {record.dark_pairs} dark "
        f"pairs: {spreads}."
        f" Area under the curve {record.auc:g}, false alarms {record.false_alarm_rate:g}.{_note(record.note)}"
    )


def _scores(config: DimstreamConfig) -> Iterator[str]:
    limits = config.thresholds
    stated = (
        (
            limits.structure_score,
            config.structure_calibration,
            "if the structure score of the raw frame is below",
        ),
        (limits.split, config.split_calibration, "if the SSIM of both halves of its photons is below"),
        (
            limits.correlation,
            config.correlation_calibration,
            "if its correlation with the frame before is below",
        ),
    )
    for threshold, record, what in stated:
        if threshold is not None and record is not None:
            low, high = (record.signal_quantiles.get(q, float("nan")) for q in ("0.05", "0.95"))
            yield (
                f"A frame is also suspect {what} {threshold:g}. {record.method}. 5 to 95 % quantiles of "
                f"{record.signal_frames} signal frames: {low:.3g} to {high:.3g}; the highest of "
                f"{record.dark_frames} dark frames:"
                f" {record.dark_quantiles.get('1', float('nan')):.3g}{_others(record)}. Area under the curve"
                f" {record.auc:g}, false alarms {record.false_alarm_rate:g}.{_note(record.note)}"
            )


def _others(record: ScoreCalibration) -> str:
    if record.unrelated_quantiles is None or record.unrelated_rate is None:
        return ""
    high = record.unrelated_quantiles.get("0.995", float("nan"))
    return (
        f"; of {record.unrelated_frames} pairs of two different fields, 99.5 % are below {high:.3g},"
        f" {record.unrelated_rate:.1%} above the threshold"
    )


def _windows(config: DimstreamConfig) -> str:
    limits, record = config.thresholds, config.window_calibration
    text = (
        f"A pixel is background when the counts in the {limits.window_px}x{limits.window_px} px around it "
        f"sum to at most {limits.background_max:g}, and signal above {limits.signal_min:g}"
    )
    return f"{text}; not measured on this detector." if record is None else f"{text}. {_measured(record)}"


def _measured(record: WindowCalibration) -> str:
    return (
        f"{record.method}. Of {record.dark_frames} dark frames' windows {record.background_share:.4f} are"
        f" background.{_note(record.note)}"
    )


def _note(note: str) -> str:
    return f" {note}." if note else ""


def _validation(quality: Mapping[str, float]) -> str:
    if not quality:
        return "## Validation\n\nNothing has been measured yet: use `dimstream-train evaluate`."
    rows = "\n".join(f"| {name} | {value:g} |" for name, value in quality.items())
    return f"## Validation\n\n| figure | value |\n|---|---|\n{rows}"


def _limits(config: DimstreamConfig) -> str:
    size = "" if config.pixel_size_nm is None else f" of about {config.pixel_size_nm:g} nm"
    return (
        "## Limits\n\nThe network knows only its training data: that structure, that label, that "
        f"microscope, pixels{size}. On other data, it may invent structure that looks plausible. Where a "
        "frame has no photons, the output is always invented: pay attention to the flag, and keep the raw "
        "frames."
    )


def _training(config: DimstreamConfig, attachments: Collection[str]) -> str:
    curve = f"![loss curve]({LOSS_CURVE})" if LOSS_CURVE in attachments else ""
    made = config.provenance
    if made is None:
        stated = "How the network was trained is not recorded."
        return "\n\n".join(filter(None, ("## Training", curve, stated)))
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    stated = f"`{made.command}`, seed {made.seed}, commit {made.git_commit or 'unknown'}. {versions}."
    rows = "\n".join(f"| {knob} | {_cell(value)} |" for knob, value in _flat(made.settings))
    table = f"| setting | value |\n|---|---|\n{rows}"
    return "\n\n".join(filter(None, ("## Training", curve, stated, table)))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
