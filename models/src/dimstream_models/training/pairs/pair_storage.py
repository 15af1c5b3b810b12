"""Storing pairs one by one: checked, registered, cropped, and measured for the report."""

from __future__ import annotations

import hashlib
import heapq
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.counts import factor_of_averages, stored_truth, whole_counts
from dimstream_models.training.pairs.dose_check import Doses, compare_doses
from dimstream_models.training.pairs.fields_of_view import Sketch, sketch
from dimstream_models.training.pairs.images import SQUARE
from dimstream_models.training.pairs.listing import ListedPair
from dimstream_models.training.pairs.noise import NoiseMeter
from dimstream_models.training.pairs.pair_reader import Pair, open_pair
from dimstream_models.training.pairs.prepared import (
    FIELDS,
    Counts,
    Dose,
    LeftOut,
    PreparedField,
    PrepareSettings,
    SourceImage,
)
from dimstream_models.training.pairs.registration import (
    Aligned,
    Shift,
    align,
    correlation,
    measure_shift,
)

OVERLAYS: Final = 6  # pairs that the report shows, those with the largest shifts
OVERLAY_PX: Final = 192
NAMED: Final = 9  # most refused pairs that a message names
SMALLEST_PX: Final = 16  # the smallest patch that a recipe allows; smaller images cannot be registered either


@dataclass(frozen=True)
class Overlay:
    """The centre of a pair, before and after its registration."""

    name: str
    shift: Shift
    before: tuple[Counts, Counts]  # low and high dose, before registration
    after: tuple[Counts, Counts]  # aligned and cropped


@dataclass(frozen=True)
class Stored:
    """A stored field; roles and fields of view are assigned when all fields are stored."""

    field: PreparedField
    listed: ListedPair
    sketch: Sketch
    doses: Doses | None  # None: low dose alone, or an image that shows nothing


@dataclass
class FieldStore:
    """The fields of a folder that is being prepared."""

    folder: Path
    settings: PrepareSettings
    stored: list[Stored] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    overlays: list[Overlay] = field(default_factory=list)
    noise: dict[Dose, NoiseMeter] = field(default_factory=lambda: defaultdict(NoiseMeter))
    """Noise of the images before registration, by dose."""
    pixel_sizes: dict[str, float] = field(default_factory=dict)
    """Pixel size by name of a pair, nm, if a file states it."""
    high_factor: float = 1.0
    """Factor by which the stored high dose was multiplied; see `counts`."""

    def add_all(self, listed: Sequence[ListedPair]) -> None:
        """Store every plane of every pair.

        Raises
        ------
        InvalidPairs
            When images cannot be used, or pairs are refused and may not be left out; the message names all of
            them.
        """
        high = [files.high for files in listed if files.high is not None]
        self.high_factor = self.settings.multiply_high or factor_of_averages(
            high, subtract=self.settings.subtract_high
        )
        with tqdm(total=len(listed), desc="prepare", unit="pair", mininterval=1) as bar:
            for files in listed:
                pairs = list(open_pair(files))
                bar.total += len(pairs) - 1
                for pair, sources in zip(pairs, _sources(files, len(pairs)), strict=True):
                    self._add(files, pair, sources)
                    bar.update()
        if self.left_out and not self.settings.leave_out_refused:
            raise InvalidPairs(self._complaint())
        if not self.stored:
            raise InvalidPairs(f"expected at least one usable pair, got none:{_lines(self.left_out)}")

    def _complaint(self) -> str:
        return (
            f"expected pairs of a noisy and a clean image, within {self.settings.max_shift_px:g} px of each"
            f" other; of {len(self.left_out) + len(self.stored)} pairs these are not:"
            f"{_lines(self.left_out)}\nNothing was stored. Compare the two images of each; then correct the"
            " files or the list, raise --max-shift if they are only far apart, or give --leave-out-refused"
        )

    def pixel_size_nm(self) -> float | None:
        """Return the pixel size of all images; None if neither they nor the settings state one.

        Raises
        ------
        InvalidPairs
            When files state different sizes.
        """
        if self.settings.pixel_size_nm is not None or not self.pixel_sizes:
            return self.settings.pixel_size_nm
        small, large = (pick(self.pixel_sizes, key=self.pixel_sizes.__getitem__) for pick in (min, max))
        if self.pixel_sizes[large] > (1 + SQUARE) * self.pixel_sizes[small]:
            raise InvalidPairs(
                f"expected one pixel size, got {self.pixel_sizes[small]:g} nm in {small} and"
                f" {self.pixel_sizes[large]:g} nm in {large}: prepare them separately, or give "
                "--pixel-size-nm"
            )
        return self.pixel_sizes[small]

    def _add(self, files: ListedPair, pair: Pair, sources: tuple[SourceImage, ...]) -> None:
        if pair.pixel_size_nm is not None:
            self.pixel_sizes[pair.name] = pair.pixel_size_nm
        self._check_size(files, pair.low.shape)
        low, high = self._counts(pair)
        self.noise["low"].add(low[None])
        if high is None or pair.high is None:
            self._store(files, pair, sources, low, sketch(low), None)
            return
        light = pair.high.astype(np.float64) - self.settings.subtract_high
        self.noise["high"].add(light[None])
        shift = measure_shift(low, high) if self.settings.registered else None
        doses = compare_doses(low, light)
        if (reason := self._refused(shift, doses)) is not None:
            self.left_out.append(LeftOut(name=pair.name, reason=reason))
            return
        aligned = align(low, high, shift)
        self._check_size(files, aligned.low.shape, cropped=True)
        self._store(files, pair, sources, aligned, sketch(high), doses)
        if shift is not None:
            before, after = (_middle(low), _middle(high)), (_middle(aligned.low), _middle(aligned.high))
            kept = [*self.overlays, Overlay(pair.name, shift, before, after)]
            self.overlays = heapq.nlargest(OVERLAYS, kept, key=lambda overlay: overlay.shift.length_px)

    def _check_size(self, files: ListedPair, shape: tuple[int, ...], *, cropped: bool = False) -> None:
        if min(shape) >= SMALLEST_PX:
            return
        height, width = shape
        how = " after both images were registered and cropped" if cropped else ""
        raise InvalidPairs(
            f"{files.name}: expected images of at least {SMALLEST_PX} px a side, the smallest training "
            f"patch (fit.patch_px), got {height} x {width} px in {files.low}{how}: leave it out"
        )

    def _refused(self, shift: Shift | None, doses: Doses | None) -> str | None:
        """Return why a pair is not stored; None if it is."""
        if doses is not None and doses.refusal is not None:
            return doses.refusal
        if not self.settings.registered:
            return None
        if shift is None:
            return "one of its images shows nothing"
        if shift.length_px > self.settings.max_shift_px:
            return f"high dose would have to move {shift.px[0]:+.1f} px down and {shift.px[1]:+.1f} px right"
        return None

    def _counts(self, pair: Pair) -> tuple[Counts, Counts | None]:
        low = whole_counts(pair.low, subtract=self.settings.subtract_low, name=f"{pair.name}, low dose")
        if pair.high is None:
            return low, None
        if pair.low.dtype != pair.high.dtype and "f" not in (pair.low.dtype.kind, pair.high.dtype.kind):
            raise InvalidPairs(
                f"{pair.name}: expected both images to have the same type, got {pair.low.dtype} at low dose "
                "and"
                f" {pair.high.dtype} at high dose: one of them may have been scaled for display; save both "
                "with the microscope's counts (averages of high dose as float32)"
            )
        high = stored_truth(
            pair.high,
            subtract=self.settings.subtract_high,
            factor=self.high_factor,
            name=f"{pair.name}, high dose",
        )
        return low, high

    def _store(
        self,
        files: ListedPair,
        pair: Pair,
        sources: tuple[SourceImage, ...],
        image: Counts | Aligned,
        sketched: Sketch,
        doses: Doses | None,
    ) -> None:
        planes = (image.low, image.high) if isinstance(image, Aligned) else (image,)
        file = f"{FIELDS}/{len(self.stored):05d}.npy"
        content = io.BytesIO()
        np.save(content, np.stack(planes))
        (self.folder / file).write_bytes(content.getbuffer())
        prepared = PreparedField(
            name=pair.name,
            day=pair.day,
            field_of_view=pair.name,
            role="training",
            file=file,
            shape=planes[0].shape,
            has_high=len(planes) == 2,
            mean_low=float(planes[0].mean()),
            sha256=hashlib.sha256(content.getbuffer()).hexdigest(),
            sources=sources,
            **_of_high(image),
        )
        self.stored.append(Stored(prepared, files, sketched, doses))


def _lines(left_out: Sequence[LeftOut]) -> str:
    lines = "".join(f"\n  {each.name}: {each.reason}" for each in left_out[:NAMED])
    more = len(left_out) - NAMED
    return lines if more <= 0 else f"{lines}\n  and {more} more"


def _of_high(image: Counts | Aligned) -> dict[str, Any]:
    """Return the figures that only a field with high dose has."""
    if not isinstance(image, Aligned):
        return {}
    shift = image.shift
    return {
        "shift_px": None if shift is None else shift.px,
        "shift_error_px": None if shift is None else shift.error_px,
        "moved": image.moved,
        "correlation": correlation(image.low, image.high),
        "mean_high": float(image.high.mean()),
    }


def _middle(image: Counts) -> Counts:
    window = (slice(max(0, (side - OVERLAY_PX) // 2), (side + OVERLAY_PX) // 2) for side in image.shape)
    return image[tuple(window)].copy()


def _sources(files: ListedPair, planes: int) -> Iterator[tuple[SourceImage, ...]]:
    """Yield the source of each plane of two files."""
    images = [(image, image.sha256()) for image in (files.low, files.high) if image is not None]
    for plane in range(planes):
        yield tuple(
            SourceImage(path=str(image.path), stack=image.stack, plane=plane, sha256=sha256)
            for image, sha256 in images
        )
