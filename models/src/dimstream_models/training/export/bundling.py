"""From a finished run to a bundle that serves: scale, thresholds, figures, pictures, model card."""

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
    """What a bundle is to have besides its network.

    Parameters
    ----------
    movies : Movies
        Recorded movies, from which the thresholds come; a simulated recipe's otherwise come from simulated
        ones, and a recipe on pairs has no SSIM threshold without them.
    documentation : str, optional
        The bundle's README, with `{figure}` for each figure that it names; one that is not there reads
        "not measured". Without it a model card is written.
    sample : Path, optional
        A movie that goes with the bundle, under its own name; whose images may, their owner knows.
    quality : mapping of str to float
        Figures measured elsewhere (`dimstream-train compare`), kept in the bundle.
    half : Path, optional
        Folder of a second bundle, in half precision, for GPUs.
    device : str
        A torch device to calibrate on.
    strict : bool
        Refuse a bundle against which something speaks; see `export.warnings`.
    """

    movies: Movies = field(default_factory=Movies)
    documentation: str | None = None
    sample: Path | None = None
    quality: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    half: Path | None = None
    device: str = "cpu"
    strict: bool = False


def export_run(run: Path, folder: Path, *, command: str, options: ExportOptions = ExportOptions()) -> Bundle:
    """Calibrate and export the run's best network into a bundle folder, replacing it.

    Parameters
    ----------
    run : Path
        Folder of the run.
    folder : Path
        Of the bundle.
    command : str
        The command that does this, for the record.

    Raises
    ------
    PoorModel
        When something speaks against it and that is not allowed, with every reason.
    Diverged
        When the run has failed.
    InvalidPrepared
        When the images that it was trained on have changed, or changed their roles.
    CannotCalibrate
        When no scale or threshold follows from the data or the movies.
    ParityError, BundleError
        When a bundle would not serve what torch computes.
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
    """All that a bundle says, but for where it comes from and the files that go with it."""
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
    """Files that go with the bundle, some of them written into a folder that is only for that."""
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
    """Return all settings; of folders their name alone, as a bundle travels."""
    settings: dict[str, JsonValue] = recipe.model_dump(mode="json")
    if recipe.pairs is not None:
        settings["pairs"] = {
            **recipe.pairs.model_dump(mode="json"),
            "prepared": recipe.pairs.prepared.name,
        }
    if recipe.movies is not None:
        settings["movies"] = {**recipe.movies.model_dump(mode="json"), "stored": recipe.movies.stored.name}
    return settings
