"""From weights of the published code to a bundle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import JsonValue, ValidationError

from dimstream_models.bundle import (
    Bundle,
    InvalidBundle,
    Provenance,
    TooLarge,
    UnsupportedModel,
    check_target,
)
from dimstream_models.bundle.contents import MAX_FILE_BYTES
from dimstream_models.bundle.schema import SSIM_WITHOUT_CONFIG
from dimstream_models.training.calibration.rescaling import RescalingMethod
from dimstream_models.training.calibration.training_pairs import rescaling_of_pairs
from dimstream_models.training.export.writing import NetworkDraft, write_network
from dimstream_models.training.fitting.device import require_device
from dimstream_models.training.fitting.record import git_state, package_versions
from dimstream_models.training.keras_import.reading import KerasNetwork
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.pairs.pair_reader import read_pairs
from dimstream_models.training.prediction import network_denoiser
from dimstream_models.training.settings import BundleSettings, NormalisationSettings
from dimstream_models.training.simulation.er_scenes import Scene, expose
from dimstream_models.training.simulation.training_samples import scene_generator

NORMALISATION = NormalisationSettings(kind="maximum", value=None)
"""Normalisation of the published code: each image is divided by its own maximum."""

EXAMPLE_SIDE_PX = 192
"""Side of the cover's image; for a whole frame, the published network needs minutes on a CPU."""
EXAMPLE_DOSE, EXAMPLE_DARK_COUNTS = 1.2, 0.01


@dataclass(frozen=True, kw_only=True)
class KerasBundle:
    """Contents of a bundle of imported weights, and how its scale is determined."""

    weights: Path
    config: Path
    command: str
    """The command line, for the record."""
    id: str | None = None
    """Name in messages and URLs; None: after the bundle's folder."""
    authors: tuple[str, ...] = ("not stated",)
    licence: str | None = None
    """SPDX identifier; None: not stated."""
    pixel_size_nm: float | None = None
    """Pixel size of the training images; None: as the pairs state it."""
    pairs: Path | None = None
    """Training pairs, as in `read_pairs`; None: the bundle has no scale and offset."""
    rescaling: RescalingMethod = "least_squares"
    device: str = "cpu"
    """torch device for predictions of training images."""


def write_keras_bundle(read: KerasNetwork, folder: Path, stated: KerasBundle) -> Bundle:
    """Write the bundle of an imported network; an existing one is replaced.

    Raises
    ------
    UnsupportedModel
        When the network is for volumes.
    TooLarge
        When its weights are too large for a bundle.
    NotAvailable
        When torch cannot use the device.
    CannotCalibrate, InvalidPairs, InvalidPrepared
        When scale and offset cannot be determined from the pairs.
    ParityError, BundleError
        As `write_network`.
    """
    check_target(folder, replace=True)
    require_device(stated.device)
    _check_servable(read)
    settings = _settings(folder, stated)
    example, pixel_size_nm = _example(stated.pairs)
    rescaling = None
    if stated.pairs is not None:
        denoise = network_denoiser(read.network, build_normaliser(NORMALISATION), device=stated.device)
        rescaling = rescaling_of_pairs(stated.pairs, denoise, stated.rescaling)
    draft = NetworkDraft(
        network=read.network,
        normalisation=NORMALISATION,
        bundle=settings,
        example=example,
        rescaling=rescaling,
        ssim=SSIM_WITHOUT_CONFIG,
        provenance=_provenance(read, stated),
        pixel_size_nm=pixel_size_nm,
    )
    return write_network(folder, draft)


def _check_servable(read: KerasNetwork) -> None:
    if read.sizes.dims == 3:
        raise UnsupportedModel(
            "expected weights for planes (b, 1, y, x), got weights for volumes (b, 1, y, x, z): use them"
            " from Python (dimstream_models.training.keras_import), or import the weights of a 2D network"
        )
    size = sum(4 * weight.numel() for weight in read.network.parameters())
    if size > MAX_FILE_BYTES:
        raise TooLarge(f"the weights need {size} bytes, expected at most {MAX_FILE_BYTES}")


def _settings(folder: Path, stated: KerasBundle) -> BundleSettings:
    name = stated.id or re.sub(r"[^a-z0-9]+", "-", folder.resolve().stem.lower()).strip("-") or "unet-rcan"
    try:
        return BundleSettings(
            id=name,
            name=f"UNet-RCAN {name}",
            description="UNet-RCAN with weights that were trained with the published Keras code.",
            authors=stated.authors,
            license=stated.licence,
            pixel_size_nm=stated.pixel_size_nm,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidBundle(f"{first['loc'][0]}: {first['msg']}, got {first['input']!r}") from error


def _example(pairs: Path | None) -> tuple[NDArray[Any], float | None]:
    """Return part of a training image or of a simulated one, (H, W) counts, and its pixel size."""
    if pairs is not None:
        first = next(read_pairs(pairs, role="training"))
        y, x = (max(0, side - EXAMPLE_SIDE_PX) // 2 for side in first.low.shape)
        return first.low[y:, x:][:EXAMPLE_SIDE_PX, :EXAMPLE_SIDE_PX], first.pixel_size_nm
    rng = scene_generator(0, "sample", 0)
    scene = Scene.random(rng, (EXAMPLE_SIDE_PX, EXAMPLE_SIDE_PX))
    return expose(scene.structure(0.0), dose=EXAMPLE_DOSE, dark_counts=EXAMPLE_DARK_COUNTS, rng=rng), None


def _provenance(read: KerasNetwork, stated: KerasBundle) -> Provenance:
    sizes = read.sizes
    network: dict[str, JsonValue] = {
        "filters": list(sizes.filters),
        "filters_cab": sizes.filters_cab,
        "num_RG": sizes.num_rg,
        "num_cab": sizes.num_cab,
        "kernel": sizes.kernel,
        "inner activation": read.activation,
    }
    return Provenance(
        command=stated.command,
        seed=0,
        versions={**package_versions(), **{name: version(name) for name in ("h5py", "onnx", "onnxruntime")}},
        git_commit=git_state()[0],
        settings={
            "weights": stated.weights.name,
            "weights sha256": _sha256(stated.weights),
            "configuration": stated.config.name,
            "configuration sha256": _sha256(stated.config),
            "network": network,
            "remarks": list(read.remarks),
        },
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
