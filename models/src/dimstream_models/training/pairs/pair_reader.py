"""Reads pairs one by one, from a prepared folder or directly from image files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.images import Planes, read_planes
from dimstream_models.training.pairs.listing import ListedPair, list_pairs
from dimstream_models.training.pairs.prepared import Prepared, Role, is_prepared, read_prepared


@dataclass(frozen=True)
class Pair:
    """One field of view at low dose and, if it exists, at high dose."""

    name: str
    day: str
    low: NDArray[Any]  # (H, W), as stored: real and finite numbers
    high: NDArray[Any] | None  # (H, W)
    pixel_size_nm: float | None


def read_pairs(path: Path, *, role: Role = "test") -> Iterator[Pair]:
    """Yield the pairs of a prepared folder, a measurement day's folder, a CSV list or an image file.

    Images of a prepared folder are registered; those of files are not changed.

    Parameters
    ----------
    path : Path
        A folder that `dimstream-train prepare` wrote; a folder with `low/` and `high/`, or `low.tif` and
        `high.tif`; a CSV list with columns low and high; or an image of low dose alone. Then the pairs have
        no high dose.
    role : Role
        The role of the fields in a prepared folder. Other sources have no roles, and give all their pairs.

    Raises
    ------
    InvalidPairs
        When images are missing or do not match, or a prepared folder has no field of that role.
    InvalidPrepared
        When a prepared folder has changed.
    """
    if is_prepared(path):
        yield from _prepared_pairs(read_prepared(path), role)
        return
    for listed in list_pairs([path]):
        yield from open_pair(listed)


def open_pair(listed: ListedPair) -> Iterator[Pair]:
    """Yield the planes of two files, one pair for each.

    Raises
    ------
    InvalidPairs
        When a file cannot be read, or the two do not have the same number of planes of one size.
    """
    low = read_planes(listed.low, below_zero=True)
    high = None if listed.high is None else read_planes(listed.high, below_zero=True)
    if high is not None and high.values.shape != low.values.shape:
        raise InvalidPairs(
            f"{listed.name}: expected images of one shape, got {low.values.shape} in {listed.low} and"
            f" {high.values.shape} in {listed.high}: crop both to the same field, with the same number of "
            "planes"
        )
    pixel_size_nm = _one_pixel_size(listed, low, high)
    for plane, counts in enumerate(low.values):
        name = listed.name if len(low.values) == 1 else f"{listed.name}[{plane}]"
        yield Pair(name, listed.day, counts, None if high is None else high.values[plane], pixel_size_nm)


def _one_pixel_size(listed: ListedPair, low: Planes, high: Planes | None) -> float | None:
    sizes = [planes.pixel_size_nm for planes in (low, high) if planes and planes.pixel_size_nm is not None]
    if sizes and max(sizes) > 1.01 * min(sizes):
        raise InvalidPairs(
            f"{listed.name}: expected one pixel size, got {sizes[0]:g} nm at low dose and"
            f" {sizes[1]:g} nm at high dose: resample one of them to the other's pixels, or correct that of"
            f" {listed.low} or {listed.high}"
        )
    return sizes[0] if sizes else None


def _prepared_pairs(prepared: Prepared, role: Role) -> Iterator[Pair]:
    fields = prepared.of(role)
    if not fields:
        raise InvalidPairs(
            f"{prepared.folder} has no {role} fields ({prepared.index.roles}): prepare again with such "
            "fields, or name another role"
        )
    for field in fields:
        prepared.check([field])
        yield Pair(field.name, field.day, *prepared.open(field), prepared.pixel_size_nm)
