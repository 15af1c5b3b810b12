"""The model card: a bundle's README, written from what the bundle records."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from dimstream_models.bundle import Calibration, DimstreamConfig, RescalingRecord, WindowCalibration
from dimstream_models.training.settings import BundleSettings

FIELD_PICTURE = "pictures/field.png"
LOSS_CURVE = "training/loss.png"
CALIBRATION = "## Calibration"

_RESCALED_BY = {
    "least_squares": "a straight line fitted by least squares through all pixels of",
    "clipped_quantiles": "a straight line fitted through the pixels, clipped at 1st and 99th quantile, of",
    "normalisation": "the normalisation alone, without a fit, for",
}


class _Measured(dict[str, float]):
    """Figures by name, for a text that names some which were not measured."""

    def __missing__(self, name: str) -> str:
        return "not measured"


def fill(template: str, figures: Mapping[str, float]) -> str:
    """Return a README whose `{figure}`s are numbers; one that is not there reads "not measured"."""
    return template.format_map(_Measured(figures))


def write_card(
    bundle: BundleSettings, config: DimstreamConfig, gain: float, offset: float, attachments: Collection[str]
) -> str:
    """Return the README of a bundle that brings none of its own."""
    return (
        "\n\n".join(
            (
                f"# {bundle.name}",
                bundle.description,
                *([f"![noisy, restored, truth]({FIELD_PICTURE})"] if FIELD_PICTURE in attachments else []),
                "\n".join(_usage(config)),
                calibration_section(config, gain, offset),
                _validation(config.quality),
                _limits(config),
                _training(config, attachments),
            )
        )
        + "\n"
    )


def calibration_section(config: DimstreamConfig, gain: float, offset: float) -> str:
    """Return the section that says how predictions become counts, and when a frame is suspect."""
    return "\n\n".join(
        (
            CALIBRATION,
            _rescaling(config.rescaling, gain, offset),
            _threshold(config.thresholds.ssim, config.calibration),
            _windows(config),
        )
    )


def with_calibration(documentation: str, section: str) -> str:
    """Return a README with its calibration section replaced, or put before the first other section."""
    found = re.search(rf"^{CALIBRATION}$.*?(?=^## |\Z)", documentation, re.MULTILINE | re.DOTALL)
    if found:
        return documentation[: found.start()] + section + "\n\n" + documentation[found.end() :]
    first = re.search(r"^## ", documentation, re.MULTILINE)
    place = first.start() if first else len(documentation)
    return documentation[:place] + section + "\n\n" + documentation[place:]


def _usage(config: DimstreamConfig) -> Iterator[str]:
    normalisation = config.input_normalisation
    if normalisation is None:
        divided = "The network normalises them itself"
    elif normalisation.kind == "fixed":
        divided = f"The network divides them by {normalisation.value:g} itself, always"
    elif normalisation.kind == "maximum":
        divided = "The network divides each frame by its maximum itself, so one bright pixel rescales a frame"
    else:
        divided = f"The network divides each frame by its {normalisation.value:g} quantile itself"
    yield (
        f"- **Input**: photon counts, one frame, (H, W), not divided by anything. {divided}."
        " Camera values must be turned into photons first (minus offset, times gain)."
    )
    yield (
        "- **Output**: denoised counts, rescaled as *Calibration* says and clipped at 0 and 65535."
        if config.rescaling is not None
        else "- **Output**: the prediction, clipped at 0 and 65535, on the scale that *Calibration* names."
    )
    if config.pixel_size_nm is not None:
        yield f"- **Pixels** of {config.pixel_size_nm:g} nm."
    if config.dose_photons is not None:
        low, high = config.dose_photons
        yield f"- **Dose**: {low:g} to {high:g} photons on a structure's pixel."


def _rescaling(record: RescalingRecord | None, gain: float, offset: float) -> str:
    if record is None and (gain, offset) == (1.0, 0.0):
        return (
            "There is no scale and no offset: predictions are delivered on the network's own scale, which is"
            " none of counts. `dimstream-train calibrate --pairs` fits both."
        )
    line = f"Denoised counts are {gain:g} times the prediction {offset:+g}"
    if record is None:
        return f"{line}; how this was found is not recorded."
    text = f"{line}: {_RESCALED_BY[record.method]} {record.data}"
    if not record.pixels or record.r_squared is None or record.rms_error is None:
        return f"{text}."
    return (
        f"{text} ({record.images} images, {record.pixels} pixels; it explains {record.r_squared:.4f} of the"
        f" variance and leaves a root mean square error of {record.rms_error:.3g} counts)."
    )


def _threshold(threshold: float | None, record: Calibration | None) -> str:
    if threshold is None or record is None:
        return (
            "No frame is judged: there is no threshold of the SSIM between adjacent predictions."
            " `dimstream-train calibrate --signal MOVIE --dark MOVIE` finds one."
        )
    quantiles = ", ".join(
        f"{kind} {found.get('0.05', float('nan')):.3f} to {found.get('0.95', float('nan')):.3f}"
        for kind, found in (("signal", record.signal_quantiles), ("dark", record.dark_quantiles))
    )
    return (
        f"A frame is suspect below an SSIM of {threshold:g} to the prediction before it. {record.method}."
        f" Nine in ten of {record.signal_pairs} signal and {record.dark_pairs} dark pairs: {quantiles}."
        f" Area under the curve {record.auc:g}, false alarms {record.false_alarm_rate:g}."
        + (f" {record.note}." if record.note else "")
    )


def _windows(config: DimstreamConfig) -> str:
    limits, record = config.thresholds, config.window_calibration
    text = (
        f"A pixel is background when the counts in the {limits.window_px}x{limits.window_px} px around it sum"
        f" to {limits.background_max:g} at most, and signal above {limits.signal_min:g}"
    )
    return f"{text}; not measured on this detector." if record is None else f"{text}. {_measured(record)}"


def _measured(record: WindowCalibration) -> str:
    return (
        f"{record.method}. Of {record.dark_frames} dark frames' windows {record.background_share:.4f} are"
        f" background." + (f" {record.note}." if record.note else "")
    )


def _validation(quality: Mapping[str, float]) -> str:
    if not quality:
        return "## Validation\n\nNothing has been measured yet: `dimstream-train evaluate` does it."
    rows = "\n".join(f"| {name} | {value:g} |" for name, value in quality.items())
    return f"## Validation\n\n| figure | value |\n|---|---|\n{rows}"


def _limits(config: DimstreamConfig) -> str:
    size = f" of about {config.pixel_size_nm:g} nm" if config.pixel_size_nm is not None else " of that size"
    return (
        "## Limits\n\nThe network knows what it was trained on: that structure, that label, that microscope,"
        f" pixels{size}. On anything else it may invent structure that looks right. Where a frame holds no"
        " photons the output is invented always: heed the flag, and keep the raw frames."
    )


def _training(config: DimstreamConfig, attachments: Collection[str]) -> str:
    parts = ["## Training"]
    if LOSS_CURVE in attachments:
        parts.append(f"![loss curve]({LOSS_CURVE})")
    if config.provenance is None:
        return "\n\n".join((*parts, "How the network was trained is not recorded."))
    made = config.provenance
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    parts.append(f"`{made.command}`, seed {made.seed}, commit {made.git_commit or 'unknown'}. {versions}.")
    rows = "\n".join(f"| {knob} | {_cell(value)} |" for knob, value in _flat(made.settings))
    return "\n\n".join((*parts, f"| setting | value |\n|---|---|\n{rows}"))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
