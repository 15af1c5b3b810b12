"""Small experiments on disk: known structure, known shifts, photon counts."""

import functools
import hashlib
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.training.pairs.prepared import (
    Prepared,
    PreparedField,
    PreparedIndex,
    PrepareSettings,
    Role,
    SourceImage,
    read_prepared,
)

SIDE_PX = 96
DOSE_RATIO = 20


@functools.lru_cache(maxsize=32)
def draw_structure(seed: int, side_px: int = SIDE_PX) -> NDArray[np.float64]:
    """Expected photons at low dose of blurred points, periodic, about 2 on average; they are read-only."""
    points = np.random.default_rng(seed).random((side_px, side_px)) < 0.01
    structure = 0.02 + 200 * ndimage.gaussian_filter(points.astype(float), 2.0, mode="wrap")
    structure.setflags(write=False)
    return structure


def shift_periodic(image: NDArray[np.float64], shift: tuple[float, float]) -> NDArray[np.float64]:
    """Exact shift of a periodic, band-limited image, by the phase of its Fourier transform."""
    phase = sum(
        by * np.fft.fftfreq(side).reshape(form)
        for by, side, form in zip(shift, image.shape, ((-1, 1), (1, -1)), strict=True)
    )
    return np.clip(np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * phase)).real, 0, None)


def expose_pair(
    seed: int, shift: tuple[float, float] = (0, 0)
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Low dose, and high dose that would have to move by `shift` to lie on it."""
    rng, structure = np.random.default_rng((seed, 1)), draw_structure(seed)
    displaced = shift_periodic(structure, (-shift[0], -shift[1]))
    return (
        rng.poisson(structure).astype(np.uint16),
        rng.poisson(DOSE_RATIO * displaced).astype(np.uint16),
    )


def write_day(folder: Path, seeds: range, shift: tuple[float, float] = (0, 0)) -> Path:
    """Write `low/` and `high/` of one measurement day, one field for each seed."""
    for seed in seeds:
        for dose, image in zip(("low", "high"), expose_pair(seed, shift), strict=True):
            (folder / dose).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / dose / f"field-{seed}.tif", image)
    return folder


def store_fields(
    folder: Path, images: list[tuple[NDArray[np.uint16], NDArray[np.uint16] | None]], roles: list[Role]
) -> Prepared:
    """Write a prepared folder of given images, field-0, field-1, …"""
    (folder / "fields").mkdir()
    fields = []
    for index, ((low, high), role) in enumerate(zip(images, roles, strict=True)):
        path = folder / "fields" / f"{index:05d}.npy"
        np.save(path, np.stack([low] if high is None else [low, high]))
        fields.append(
            PreparedField(
                name=f"field-{index}",
                day="day",
                field_of_view=f"field-{index}",
                role=role,
                file=f"fields/{path.name}",
                shape=low.shape,
                has_high=high is not None,
                mean_low=float(low.mean()),
                mean_high=None if high is None else float(high.mean()),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                sources=(SourceImage(path="nowhere.tif", plane=0, sha256="0" * 64),),
            )
        )
    index = PreparedIndex(
        settings=PrepareSettings(),
        pixel_size_nm=None,
        roles="as given",
        matched_by_order=(),
        left_out=(),
        fields=tuple(fields),
    )
    (folder / "prepared.json").write_text(index.model_dump_json())
    return read_prepared(folder)
