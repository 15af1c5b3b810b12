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
from dimstream_models.training.pairs.counts import whole_counts
from dimstream_models.training.pairs.images import SQUARE
from dimstream_models.training.pairs.listing import ListedPair
from dimstream_models.training.pairs.noise import NoiseMeter
from dimstream_models.training.pairs.opening import Pair, open_pair
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
from dimstream_models.training.pairs.views import Sketch, sketch

OVERLAYS: Final = 6  # pairs kept to be shown, the furthest apart
OVERLAY_PX: Final = 192
SMALLEST_PX: Final = 16  # the smallest patch that a recipe can ask for; less cannot be registered either


@dataclass(frozen=True)
class Overlay:
    """The middle of a pair, before and after its registration."""

    name: str
    shift: Shift
    before: tuple[Counts, Counts]  # low and high dose, as they came
    after: tuple[Counts, Counts]  # aligned and cropped


@dataclass(frozen=True)
class Stored:
    """A field on disk; its role and field of view are given when all are there."""

    field: PreparedField
    listed: ListedPair
    sketch: Sketch


@dataclass
class FieldStore:
    """The fields of a folder that is being prepared."""

    folder: Path
    settings: PrepareSettings
    stored: list[Stored] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    overlays: list[Overlay] = field(default_factory=list)
    noise: dict[Dose, NoiseMeter] = field(default_factory=lambda: defaultdict(NoiseMeter))
    """Of the images as they came."""
    pixel_sizes: dict[str, float] = field(default_factory=dict)
    """Name of a pair to nm, where a file states it."""

    def add_all(self, listed: Sequence[ListedPair]) -> None:
        """Store every plane of every pair.

        Raises
        ------
        InvalidPairs
            When images cannot be used, or pairs lie further apart than the bound and may not be left out; all
            of these are named.
        """
        with tqdm(total=len(listed), desc="prepare", unit="pair", mininterval=1) as bar:
            for files in listed:
                pairs = list(open_pair(files))
                bar.total += len(pairs) - 1
                for pair, sources in zip(pairs, _sources(files, len(pairs)), strict=True):
                    self._add(files, pair, sources)
                    bar.update()
        if self.left_out and not self.settings.leave_out_refused:
            refused = "".join(f"\n  {each.name}: {each.reason}" for each in self.left_out)
            raise InvalidPairs(
                f"expected the images of each pair within {self.settings.max_shift_px:g} px of each other; of"
                f" {len(self.left_out) + len(self.stored)} pairs these are not:{refused}\nNothing was stored."
                " Compare the two images of each; then mend the files or the list, raise --max-shift, or give"
                " --leave-out-refused"
            )

    def pixel_size_nm(self) -> float | None:
        """Return the pixel size of all images, None where neither they nor the settings state one.

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
                f" {self.pixel_sizes[large]:g} nm in {large}: prepare them apart, or state --pixel-size-nm"
            )
        return self.pixel_sizes[small]

    def _add(self, files: ListedPair, pair: Pair, sources: tuple[SourceImage, ...]) -> None:
        if pair.pixel_size_nm is not None:
            self.pixel_sizes[pair.name] = pair.pixel_size_nm
        if min(pair.low.shape) < SMALLEST_PX:
            height, width = pair.low.shape
            raise InvalidPairs(
                f"{pair.name}: expected images of at least {SMALLEST_PX} px a side, the smallest patch, got"
                f" {height} x {width} px: leave it out"
            )
        low, high = self._counts(pair)
        self.noise["low"].add(low[None])
        if high is None:
            self._store(files, pair, sources, low, sketch(low))
            return
        self.noise["high"].add(high[None])
        shift = measure_shift(low, high) if self.settings.registered else None
        if (reason := self._refused(shift)) is not None:
            self.left_out.append(LeftOut(name=pair.name, reason=reason))
            return
        aligned = align(low, high, shift)
        self._store(files, pair, sources, aligned, sketch(high))
        if shift is not None:
            before, after = (_middle(low), _middle(high)), (_middle(aligned.low), _middle(aligned.high))
            kept = [*self.overlays, Overlay(pair.name, shift, before, after)]
            self.overlays = heapq.nlargest(OVERLAYS, kept, key=lambda overlay: overlay.shift.length_px)

    def _refused(self, shift: Shift | None) -> str | None:
        """Return why a pair with that shift is not stored, None where it is."""
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
        if pair.low.dtype != pair.high.dtype:
            raise InvalidPairs(
                f"{pair.name}: expected both images in one type, got {pair.low.dtype} at low dose and"
                f" {pair.high.dtype} at high dose: save both as the microscope counted them"
            )
        high = whole_counts(pair.high, subtract=self.settings.subtract_high, name=f"{pair.name}, high dose")
        return low, high

    def _store(
        self,
        files: ListedPair,
        pair: Pair,
        sources: tuple[SourceImage, ...],
        image: Counts | Aligned,
        sketched: Sketch,
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
        self.stored.append(Stored(prepared, files, sketched))


def _of_high(image: Counts | Aligned) -> dict[str, Any]:
    """Return what only a field with a high dose has."""
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
    """Yield where each plane of two files comes from."""
    images = [(image, image.sha256()) for image in (files.low, files.high) if image is not None]
    for plane in range(planes):
        yield tuple(
            SourceImage(path=str(image.path), stack=image.stack, plane=plane, sha256=sha256)
            for image, sha256 in images
        )
