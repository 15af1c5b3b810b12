"""Warnings for people who train on prepared pairs, one sentence each, about things that are hard to see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dimstream_models.training.pairs.dose_check import CLEARER, SHARED_NOISE, Doses
from dimstream_models.training.pairs.noise import PhotonStatistics
from dimstream_models.training.pairs.pair_storage import FieldStore, Stored
from dimstream_models.training.pairs.prepared import Dose, PreparedField
from dimstream_models.training.settings.fit import FitSettings

NAMED: Final = 3  # most pairs that a sentence names
USUAL_PATCH_PX: Final = int(FitSettings.model_fields["patch_px"].default)


def notes(store: FieldStore, noise: Mapping[Dose, PhotonStatistics]) -> tuple[str, ...]:
    """Return the warnings about all stored pairs.

    Parameters
    ----------
    store : FieldStore
        The store, with every field.
    noise : mapping of dose to PhotonStatistics
        Statistics of the images before registration.
    """
    fields = [each.field for each in store.stored]
    return (
        *_averages(store.high_factor),
        *_noise(noise),
        *_doses(store.stored),
        *_days(fields),
        *_small(store.stored),
        *_pixels(store),
    )


def _averages(factor: float) -> Iterator[str]:
    if factor != 1:
        yield (
            f"High dose is stored {factor:g} times as large as in the files, so that whole numbers keep the "
            f"fractions of averages. The output of a model trained on these pairs is {factor:g} times the "
            "average"
        )


def _noise(noise: Mapping[Dose, PhotonStatistics]) -> Iterator[str]:
    low = noise.get("low")
    if low is not None and not low.poisson:
        yield (
            f"Low dose is not photon counts ({low}; photon counts have 1). A model trained on it works only "
            "for images with the same scale, offset and camera, its flags mistake other noise for signal, "
            "and photons cannot be split. Give raw counts if you have them, and subtract the camera's "
            "offset (--subtract-low)"
        )


def _doses(stored: Sequence[Stored]) -> Iterator[str]:
    stated = {each.field.name: each.doses for each in stored if each.doses is not None}
    more = [name for name, doses in stated.items() if doses.has_more]
    if more:
        yield (
            f"Low dose has more counts than the high dose in {_named(more)}, but is the noisier image "
            f"({_means(stated[more[0]])}): the two have different gains or offsets, or were scaled for "
            "display, so the brightness of results has little meaning"
        )
    shared = {name: doses.shared for name, doses in stated.items() if doses.shared > SHARED_NOISE}
    if shared:
        most = max(shared.values())
        yield (
            f"Low and high dose share noise in {_named(list(shared))} (correlation of the finest detail up to"
            f" {most:.2f}), as when the truth is the mean of about {1 / most**2:.0f} images that include "
            "the low dose, or the structure is as fine as a pixel. If a truth includes its own noisy image, "
            "every figure looks too good: leave that image out of the mean"
        )
    alike = [name for name, doses in stated.items() if doses.clarity_high < CLEARER * doses.clarity_low]
    if alike:
        yield (
            f"High dose is hardly cleaner than the low dose in {_named(alike)}: its own noise limits every "
            "figure"
        )


def _days(fields: Sequence[PreparedField]) -> Iterator[str]:
    days = {field.day for field in fields}
    if len(days) == 1:
        yield (
            f"All images are of one measurement day ({days.pop()}), so these pairs cannot show how a model "
            "works on another day: prepare the folders of several days together, and name one with --test-day"
        )


def _small(stored: Sequence[Stored]) -> Iterator[str]:
    small = [each for each in stored if min(each.field.shape) < USUAL_PATCH_PX]
    if small:
        smallest = min(small, key=lambda each: min(each.field.shape))
        height, width = smallest.field.shape
        side = min(height, width) // 8 * 8
        yield (
            f"{len(small)} of {len(stored)} images are smaller than the usual patch of {USUAL_PATCH_PX} px;"
            f" the smallest is {height} x {width} px ({smallest.listed.low}). A recipe for these pairs needs"
            f" fit.patch_px of at most {side}; `dimstream-train init --prepared` sets it"
        )


def _pixels(store: FieldStore) -> Iterator[str]:
    if store.pixel_size_nm() is None:
        yield (
            "No file states its pixel size, but a model knows structures of one size only: give "
            "--pixel-size-nm"
        )


def _means(doses: Doses) -> str:
    return f"mean {doses.mean_low:.4g} at low dose, {doses.mean_high:.4g} at high dose"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
