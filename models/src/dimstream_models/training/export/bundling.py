"""From a finished run to a bundle that serves: rescaling, threshold, ONNX, sample movie, documents."""

from __future__ import annotations

import io
import json
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimstream_models.arithmetic import rescale
from dimstream_models.bundle import (
    Author,
    Bundle,
    BundleDraft,
    DimstreamConfig,
    InputNormalisation,
    Provenance,
    Thresholds,
    write_bundle,
)
from dimstream_models.training.calibration.threshold import Denoise, Rescaling, calibrate_ssim, fit_rescaling
from dimstream_models.training.evaluation.photometry import measure_photometry
from dimstream_models.training.export.onnx_export import Denoiser, OnnxRunner, export_onnx
from dimstream_models.training.fitting.trainer import load_best
from dimstream_models.training.settings import Recipe
from dimstream_models.training.simulation.scenes import scene_generator
from dimstream_models.training.simulation.simulator import PIXEL_SIZE_NM, Scene, expose

SAMPLE_FRAMES = 48
SAMPLE_EMPTY = slice(30, 40)  # the stage has left the cell
SAMPLE_DOSE = 1.2
SAMPLE_SIDE_PX = 256
SAMPLE_SCENE = 1
DARK_COUNTS = 0.01
MAX_COUNTS = 65535.0

Movie = NDArray[np.uint16]


def make_bundle(
    recipe: Recipe, run: Path, folder: Path, *, quality: Mapping[str, float], documentation: str, command: str
) -> Bundle:
    """Calibrate and export the run's best network into a bundle folder, replacing it.

    Parameters
    ----------
    quality : mapping of str to float
        Figures measured elsewhere (`dimstream-train compare`), kept in the bundle.
    documentation : str
        The bundle's README, with `{figure}` for each figure that it names; one that is not there reads
        "not measured".
    command : str
        The command that repeats all this, for the record.
    """
    denoiser = Denoiser(load_best(recipe, run), recipe.network.input_scale_photons)
    onnx_file = export_onnx(denoiser)
    denoise = network_denoiser(onnx_file)
    rescaling = fit_rescaling(recipe, denoise)
    threshold, scale, record = calibrate_ssim(recipe, denoise)
    figures = {**quality, **_own_figures(recipe, denoise, rescaling, threshold, record.auc)}
    sample, truth = simulate_sample(recipe)
    test_input = sample[:1, None, :64, :72].astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        attachments = _write_sample(Path(scratch), recipe, sample, truth)
        attachments |= {f"training/{name}": run / name for name in ("loss.csv", "loss.png")}
        draft = BundleDraft(
            id=recipe.bundle.id,
            name=recipe.bundle.name,
            description=recipe.bundle.description,
            authors=tuple(Author(name) for name in recipe.bundle.authors),
            licence=recipe.bundle.license,
            documentation=documentation.format_map(_Measured(figures)),
            cover=draw_cover(sample[0], restore(denoise, rescaling, sample[0])),
            onnx=onnx_file,
            test_input=test_input,
            test_output=restore(denoise, rescaling, test_input[0, 0])[None, None],
            config=DimstreamConfig(
                ssim=scale,
                thresholds=Thresholds(
                    ssim=threshold,
                    background_max=recipe.bundle.background_max,
                    signal_min=recipe.bundle.signal_min,
                    window_px=10,
                ),
                calibration=record,
                input_normalisation=InputNormalisation(
                    kind="fixed", value=recipe.network.input_scale_photons
                ),
                pixel_size_nm=PIXEL_SIZE_NM,
                dose_photons=recipe.calibration.dose,
                provenance=_provenance(recipe, command),
                quality=figures,
            ),
            step=2 ** len(recipe.network.filters),
            min_side=2 ** len(recipe.network.filters),
            gain=rescaling.gain,
            offset=rescaling.offset,
            clip_min=0.0,
            clip_max=MAX_COUNTS,
            attachments=attachments,
        )
        return write_bundle(folder, draft, replace=True)


def network_denoiser(onnx_file: bytes) -> Denoise:
    """Return the network as a function from counts (H, W) to the normalised prediction (H, W)."""
    run = OnnxRunner(onnx_file)
    return lambda counts: run(np.asarray(counts, dtype=np.float32)[None, None])[0, 0]


def restore(denoise: Denoise, rescaling: Rescaling, counts: NDArray[Any]) -> NDArray[np.float32]:
    """Return denoised high-dose counts (H, W) float32."""
    return rescale(denoise(counts), rescaling.gain, rescaling.offset, 0.0, MAX_COUNTS)


def simulate_sample(recipe: Recipe) -> tuple[Movie, Movie]:
    """Return the sample movie's counts and its truth in high-dose counts, both (T, H, W) uint16.

    For some frames in its midst the field of view is empty, as when the stage has moved off the cell.
    """
    rng = scene_generator(recipe.seed, "sample", SAMPLE_SCENE)
    scene = Scene.random(rng, (SAMPLE_SIDE_PX, SAMPLE_SIDE_PX))
    interval = recipe.simulation.frame_interval_s
    structure = np.stack([scene.structure(t * interval) for t in range(SAMPLE_FRAMES)])
    structure[SAMPLE_EMPTY] = 0
    counts = np.stack([expose(s, dose=SAMPLE_DOSE, dark_counts=DARK_COUNTS, rng=rng) for s in structure])
    truth = np.rint(structure * (SAMPLE_DOSE * recipe.simulation.dose_ratio)).astype(np.uint16)
    return counts, truth


def draw_cover(raw: NDArray[Any], restored: NDArray[Any]) -> bytes:
    """Return a PNG, raw on the left and restored on the right."""
    figure = Figure(figsize=(6, 3), facecolor="black")
    for place, image in enumerate((raw, restored)):
        axes = figure.add_axes((place / 2, 0, 0.495, 1))
        axes.imshow(image, cmap="magma", vmin=0, vmax=np.quantile(image, 0.998))
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def read_quality(paths: list[Path]) -> dict[str, float]:
    """Return the figures of several `dimstream-train compare` files, flat."""
    return {name: value for path in paths for name, value in json.loads(path.read_text())["figures"].items()}


class _Measured(dict[str, float]):
    """Figures by name, for a text that names some which were not measured."""

    def __missing__(self, name: str) -> str:
        return "not measured"


def _own_figures(
    recipe: Recipe, denoise: Denoise, rescaling: Rescaling, threshold: float, auc: float
) -> dict[str, float]:
    photometry = measure_photometry(lambda c: restore(denoise, rescaling, c), seed=recipe.seed)
    return {
        "ssim_threshold": threshold,
        "calibration_auc": auc,
        "photometry_jitter": round(photometry.jitter, 5),
        "photometry_photon_noise": round(photometry.photon_noise, 5),
        "photometry_worst_ratio": round(photometry.worst_ratio, 3),
        "photometry_speck_change": round(photometry.speck, 5),
    }


def _write_sample(scratch: Path, recipe: Recipe, sample: Movie, truth: Movie) -> dict[str, Path]:
    written = {}
    for name, movie in (("sample/movie.ome.tif", sample), ("sample/truth.ome.tif", truth)):
        path = written[name] = scratch / Path(name).name
        with tifffile.TiffWriter(path, ome=True) as file:
            file.write(
                movie,
                compression="zlib",
                predictor=True,
                photometric="minisblack",
                metadata={
                    "axes": "TYX",
                    "PhysicalSizeX": PIXEL_SIZE_NM / 1000,
                    "PhysicalSizeXUnit": "µm",
                    "PhysicalSizeY": PIXEL_SIZE_NM / 1000,
                    "PhysicalSizeYUnit": "µm",
                    "TimeIncrement": recipe.simulation.frame_interval_s,
                    "TimeIncrementUnit": "s",
                },
            )
    return written


def _provenance(recipe: Recipe, command: str) -> Provenance:
    packages = ("dimstream-models", "torch", "numpy", "scipy", "scikit-image", "onnx", "onnxruntime")
    return Provenance(
        command=command,
        seed=recipe.seed,
        versions={"python": platform.python_version(), **{name: version(name) for name in packages}},
        git_commit=_git_commit(),
        settings=recipe.model_dump(mode="json"),
    )


def _git_commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None outside one."""
    asked = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None
