"""From a finished run to a bundle: scale, thresholds, figures, pictures, model card."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from dimstream_models.bundle import Bundle, Provenance, check_target
from dimstream_models.training.calibration.movies import Movies
from dimstream_models.training.calibration.rescaling import Rescaling
from dimstream_models.training.calibration.threshold import FlagThresholds, ssim_settings
from dimstream_models.training.calibration.windows import WindowThresholds
from dimstream_models.training.errors import Diverged
from dimstream_models.training.export.card import FIELD_PICTURE, fill
from dimstream_models.training.export.measured_quality import threshold_figures
from dimstream_models.training.export.pictures import draw_field
from dimstream_models.training.export.training_data import TrainingData, training_data
from dimstream_models.training.export.writing import NetworkDraft, restore, write_half, write_network
from dimstream_models.training.fitting.record import RunRecord, read_record
from dimstream_models.training.fitting.trainer import load_best
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.pairs.pair_reader import Pair
from dimstream_models.training.prediction import Denoise, network_denoiser
from dimstream_models.training.settings import Recipe, read_recipe
from dimstream_models.training.stress.stressing import stress_figures
from dimstream_models.training.stress.writing import with_stress

RUN_FILES = ("loss.csv", "loss.png")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Contents of a bundle in addition to its network.

    Parameters
    ----------
    movies : Movies
        Recorded movies for the thresholds. Without them, a simulated recipe uses simulated movies, and a
        recipe with pairs has no SSIM threshold.
    documentation : str, optional
        The bundle's README, with `{figure}` for each figure; missing figures are written as "not measured".
        Without it, a model card is written.
    sample : Path, optional
        A movie that is added to the bundle under its own name; its owner must allow this.
    quality : mapping of str to float
        Figures that were measured before (`dimstream-train compare`), stored in the bundle.
    half : Path, optional
        Folder of a second bundle, in half precision, for GPUs.
    device : str
        A torch device for the calibration.
    strict : bool
        Refuse a bundle with warnings; see `export.warnings`.
    """

    movies: Movies = field(default_factory=Movies)
    documentation: str | None = None
    sample: Path | None = None
    quality: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    half: Path | None = None
    device: str = "cpu"
    strict: bool = False


def export_run(run: Path, folder: Path, *, command: str, options: ExportOptions = ExportOptions()) -> Bundle:
    """Calibrate and export the run's best network to a bundle folder, which is replaced.

    Parameters
    ----------
    run : Path
        Folder of the run.
    folder : Path
        Folder of the bundle.
    command : str
        The present command line, for the record.

    Raises
    ------
    PoorModel
        When there are warnings and `strict` is set; the message has all of them.
    Diverged
        When the run has failed.
    InvalidPrepared
        When the training images, or their roles, have changed.
    CannotCalibrate
        When no scale or threshold can be determined from the data or the movies.
    ParityError, BundleError
        When the bundle's results would differ from those of torch.
    """
    for each in (folder, options.half):
        if each is not None:
            check_target(each, replace=True)
    recipe, record = read_recipe(run / "recipe.yaml"), read_record(run)
    if record.state == "failed":
        raise Diverged(f"{run} has failed, so it is not exported: {record.reason}")
    data, network = training_data(recipe, record), load_best(recipe, run)
    calibrated = _calibrate(recipe, data, network, options)
    with tempfile.TemporaryDirectory() as scratch:
        attachments = {f"training/{name}": run / name for name in RUN_FILES}
        attachments |= _attachments(Path(scratch), data, calibrated, options)
        draft = _draft(recipe, data, network, calibrated, options)
        draft = replace(draft, provenance=_provenance(recipe, record, command), attachments=attachments)
        made = write_network(folder, draft, strict=options.strict)
        if options.half is not None:
            write_half(options.half, draft)
        return made


def _draft(
    recipe: Recipe, data: TrainingData, network: UNetRCAN, calibrated: _Calibrated, options: ExportOptions
) -> NetworkDraft:
    """Return the draft of a bundle, except for its provenance and attachments."""
    figures = {
        **options.quality,
        **threshold_figures(calibrated.threshold),
        **data.figures(calibrated.restored),
        **stress_figures(calibrated.restored, pixel_nm=data.pixel_size_nm),
    }
    documentation = options.documentation
    return NetworkDraft(
        network=network,
        normalisation=recipe.normalisation,
        bundle=recipe.bundle,
        example=data.example().low,
        rescaling=calibrated.rescaling,
        threshold=calibrated.threshold,
        windows=calibrated.windows,
        documentation=None if documentation is None else with_stress(fill(documentation, figures), figures),
        figures=figures,
        pixel_size_nm=data.pixel_size_nm,
        dose_photons=data.dose_photons,
    )


def _attachments(
    scratch: Path, data: TrainingData, calibrated: _Calibrated, options: ExportOptions
) -> dict[str, Path]:
    """Return the bundle's attachments, some of which are written to a temporary folder."""
    attachments = data.attachments(scratch)
    if options.sample is not None:
        attachments[f"sample/{options.sample.name}"] = options.sample
    if options.documentation is None:
        attachments[FIELD_PICTURE] = _write_field(scratch, data.example(), calibrated)
    return attachments


@dataclass(frozen=True)
class _Calibrated:
    """A network's prediction, its scale, and its thresholds."""

    denoise: Denoise
    rescaling: Rescaling
    threshold: FlagThresholds | None
    windows: WindowThresholds | None

    def restored(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        return restore(self.denoise, self.rescaling, counts)


def _calibrate(recipe: Recipe, data: TrainingData, network: UNetRCAN, options: ExportOptions) -> _Calibrated:
    settings, movies = recipe.calibration, options.movies
    denoise = network_denoiser(network, build_normaliser(recipe.normalisation), device=options.device)
    recorded = movies.threshold(
        denoise, ssim_settings(settings.ssim_data_range), false_alarm_rate=settings.false_alarm_rate
    )
    return _Calibrated(
        denoise,
        data.rescaling(denoise),
        recorded or data.threshold(denoise),
        movies.windows(signal_min=recipe.bundle.signal_min, rate=settings.false_alarm_rate),
    )


def _write_field(folder: Path, example: Pair, calibrated: _Calibrated) -> Path:
    images = {"noisy": example.low, "restored": calibrated.restored(example.low)}
    if example.high is not None:
        images["truth"] = example.high
    path = folder / "field.png"
    path.write_bytes(draw_field(images))
    return path


def _provenance(recipe: Recipe, record: RunRecord, command: str) -> Provenance:
    exporters = {name: version(name) for name in ("onnx", "onnxruntime")}
    return Provenance(
        command=f"{record.command}; {command}",
        seed=record.seed,
        versions={**record.versions, **exporters},
        git_commit=record.git_commit,
        settings=_without_paths(recipe),
        data=record.data | {f"start {name}": sha256 for name, sha256 in record.start.items()},
    )


def _without_paths(recipe: Recipe) -> dict[str, JsonValue]:
    """Return all settings; folders without their path, because a bundle may be copied elsewhere."""
    settings: dict[str, JsonValue] = recipe.model_dump(mode="json")
    if recipe.pairs is not None:
        settings["pairs"] = {
            **recipe.pairs.model_dump(mode="json"),
            "prepared": recipe.pairs.prepared.name,
        }
    if recipe.movies is not None:
        settings["movies"] = {**recipe.movies.model_dump(mode="json"), "stored": recipe.movies.stored.name}
    return settings
