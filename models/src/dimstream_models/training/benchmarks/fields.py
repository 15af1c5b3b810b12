"""Prepared fields of view of Poisson counts, as `prepare` would have stored them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.benchmarks.plan import SEED
from dimstream_models.training.pairs.prepared import (
    FIELDS,
    INDEX,
    Prepared,
    PreparedField,
    PreparedIndex,
    PrepareSettings,
    SourceImage,
    read_prepared,
)

MEANS: Final = (1.0, 70.0)  # photons/px at low and high dose, 70 times apart as in the paper
DRAWN: Final = 4  # fields; the others are these, shifted: drawing all would take longer than measuring


def write_fields(folder: Path, number: int, side_px: int) -> Prepared:
    """Return a prepared folder with `number` training fields, (2, side, side) uint16 each."""
    rng = np.random.default_rng(SEED)
    drawn = [_draw(rng, side_px) for _ in range(min(DRAWN, number))]
    (folder / FIELDS).mkdir(parents=True)
    fields = tuple(
        _write_field(folder, index, np.roll(drawn[index % len(drawn)], index, axis=(1, 2)))
        for index in range(number)
    )
    index = PreparedIndex(
        settings=PrepareSettings(),
        pixel_size_nm=None,
        roles="all for training",
        matched_by_order=(),
        left_out=(),
        fields=fields,
    )
    (folder / INDEX).write_text(index.model_dump_json())
    return read_prepared(folder)


def _draw(rng: np.random.Generator, side_px: int) -> NDArray[np.uint16]:
    return np.stack([rng.poisson(mean, (side_px, side_px)) for mean in MEANS]).astype(np.uint16)


def _write_field(folder: Path, index: int, planes: NDArray[np.uint16]) -> PreparedField:
    path = folder / FIELDS / f"{index:05d}.npy"
    np.save(path, planes)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    low, high = (float(mean) for mean in planes.mean(axis=(1, 2)))
    return PreparedField(
        name=f"field {index}",
        day="synthetic",
        field_of_view=f"field {index}",
        role="training",
        file=f"{FIELDS}/{path.name}",
        shape=(planes.shape[1], planes.shape[2]),
        has_high=True,
        mean_low=low,
        mean_high=high,
        sha256=sha256,
        sources=(SourceImage(path="synthetic", plane=index, sha256=sha256),),
    )
