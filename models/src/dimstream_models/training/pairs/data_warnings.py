"""What whoever trains on prepared pairs should know and can hardly see, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dimstream_models.training.pairs.dose_check import CLEARER, SHARED_NOISE, Doses
from dimstream_models.training.pairs.noise import PhotonStatistics
from dimstream_models.training.pairs.pair_storage import FieldStore, Stored
from dimstream_models.training.pairs.prepared import Dose, PreparedField
from dimstream_models.training.settings.fit import FitSettings

NAMED: Final = 3  # pairs that a sentence names
USUAL_PATCH_PX: Final = int(FitSettings.model_fields["patch_px"].default)


def notes(store: FieldStore, noise: Mapping[Dose, PhotonStatistics]) -> tuple[str, ...]:
    """Return the sentences on all that was stored.

    Parameters
    ----------
    store : FieldStore
        With every field.
    noise : mapping of dose to PhotonStatistics
        Of the images as they came.
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
            f"High dose is stored {factor:g} times as large as in the files, to keep the fractions of"
            f" averages in whole numbers. What a model of these pairs gives is {factor:g} times the average"
        )


def _noise(noise: Mapping[Dose, PhotonStatistics]) -> Iterator[str]:
    low = noise.get("low")
    if low is not None and not low.poisson:
        yield (
            f"Low dose is not photon counts ({low}; photon counts have 1). A model of it serves only images"
            " of this very scale, offset and camera, its flags take other noise for signal, and photons"
            " cannot be split. Give raw counts where there are any, and take off what the camera adds"
            " (--subtract-low)"
        )


def _doses(stored: Sequence[Stored]) -> Iterator[str]:
    stated = {each.field.name: each.doses for each in stored if each.doses is not None}
    more = [name for name, doses in stated.items() if doses.has_more]
    if more:
        yield (
            f"Low dose has more counts than the high dose in {_named(more)}, and is the noisier image all the"
            f" same ({_means(stated[more[0]])}): the two have different gains or offsets, or were scaled for"
            " display, so the brightness of results means little"
        )
    shared = {name: doses.shared for name, doses in stated.items() if doses.shared > SHARED_NOISE}
    if shared:
        most = max(shared.values())
        yield (
            f"Low and high dose share noise in {_named(list(shared))} (correlation of the finest detail up to"
            f" {most:.2f}), as when the truth is the mean of about {1 / most**2:.0f} images with the low dose"
            " among them, or the structure is as fine as a pixel. A truth that holds its own noisy image"
            " flatters every figure: leave that image out of the mean"
        )
    alike = [name for name, doses in stated.items() if doses.clarity_high < CLEARER * doses.clarity_low]
    if alike:
        yield (
            f"High dose is hardly cleaner than the low dose in {_named(alike)}: figures against it end at its"
            " own noise"
        )


def _days(fields: Sequence[PreparedField]) -> Iterator[str]:
    days = {field.day for field in fields}
    if len(days) == 1:
        yield (
            f"All images are of one measurement day ({days.pop()}), so nothing here tells how a model does on"
            " another day: prepare several days' folders together, and name one with --test-day"
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
            "No file states the size of its pixels, and a model knows structures of one size only: give"
            " --pixel-size-nm"
        )


def _means(doses: Doses) -> str:
    return f"mean {doses.mean_low:.4g} at low dose, {doses.mean_high:.4g} at high dose"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
