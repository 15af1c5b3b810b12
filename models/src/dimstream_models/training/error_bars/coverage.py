"""How many true values are within one and two error bars, in bins of dose and structure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.bundle import ErrorBarCoverage
from dimstream_models.training.error_bars.fitting import DOSE_EDGES, LEVELS, TOLERANCES
from dimstream_models.training.error_bars.samples import STRUCTURES, Sample

DOSES: Final = (0.1, *DOSE_EDGES, 30.0)
"""Edges of the reported bins, photons per pixel on a structure; other doses count in the outer bins."""

SURE: Final = 2.0
"""Number of standard errors outside the goal at which a bin certainly misses it."""


@dataclass(frozen=True)
class Row:
    """One bin.

    Parameters
    ----------
    dose_photons : tuple of float
        Lowest and highest dose of its frames.
    structure : str
        One of `STRUCTURES`.
    frames, pixels : int
        Numbers of frames and pixels.
    within_one, within_two : float
        Share of true values within one and two standard deviations.
    within_one_error, within_two_error : float
        Standard errors of both, over frames.
    sd, rms_error : float
        Root mean squares of the error bars and of the errors, counts.
    """

    dose_photons: tuple[float, float]
    structure: str
    frames: int
    pixels: int
    within_one: float
    within_one_error: float
    within_two: float
    within_two_error: float
    sd: float
    rms_error: float

    @property
    def met(self) -> bool:
        """Whether both shares are within the goal's tolerances of a normal distribution's."""
        return all(beyond <= 0 for beyond in self._beyond())

    @property
    def surely_missed(self) -> bool:
        """Whether a share is outside by more than twice its standard error, so more frames would not help."""
        errors = (self.within_one_error, self.within_two_error)
        return any(beyond > SURE * error for beyond, error in zip(self._beyond(), errors, strict=True))

    def _beyond(self) -> tuple[float, ...]:
        shares = zip((self.within_one, self.within_two), LEVELS, TOLERANCES, strict=True)
        return tuple(abs(share - level) - tolerance for share, level, tolerance in shares)


@dataclass
class Coverage:
    """Counts pixels of frames; `rows` returns the results."""

    _found: dict[tuple[int, int], list[tuple[float, ...]]] = field(default_factory=dict)

    def add(self, sample: Sample, sd: NDArray[np.float32]) -> None:
        """Add a frame with error bars `sd`, (H, W) counts."""
        dose = int(np.searchsorted(DOSE_EDGES, sample.exposed.dose))
        for place in range(len(STRUCTURES)):
            here = sample.exposed.structure == place
            if not here.any():
                continue
            error, deviation = sample.error[here].astype(float), sd[here].astype(float)
            self._found.setdefault((dose, place), []).append(
                (
                    error.size,
                    float((error <= deviation).sum()),
                    float((error <= 2 * deviation).sum()),
                    float((deviation**2).sum()),
                    float((error**2).sum()),
                )
            )

    def rows(self) -> list[Row]:
        """Return all bins with pixels, by dose and structure."""
        return [_row(dose, place, np.array(self._found[dose, place])) for dose, place in sorted(self._found)]


def _row(dose: int, place: int, found: NDArray[np.float64]) -> Row:
    pixels, one, two, squared_sd, squared_error = found.sum(axis=0)
    return Row(
        dose_photons=(DOSES[dose], DOSES[dose + 1]),
        structure=STRUCTURES[place],
        frames=len(found),
        pixels=int(pixels),
        within_one=float(one / pixels),
        within_one_error=_error_of_share(found[:, 1], found[:, 0]),
        within_two=float(two / pixels),
        within_two_error=_error_of_share(found[:, 2], found[:, 0]),
        sd=float(np.sqrt(squared_sd / pixels)),
        rms_error=float(np.sqrt(squared_error / pixels)),
    )


def _error_of_share(inside: NDArray[np.float64], pixels: NDArray[np.float64]) -> float:
    """Return the standard error of a ratio of sums over independent frames."""
    if len(pixels) < 2:
        return float("nan")
    residual = inside - inside.sum() / pixels.sum() * pixels
    return float(np.sqrt(len(pixels) / (len(pixels) - 1) * (residual**2).sum()) / pixels.sum())


def as_record(rows: Iterable[Row]) -> tuple[ErrorBarCoverage, ...]:
    """Return the rows in the form of a bundle's record."""
    return tuple(
        ErrorBarCoverage(
            dose_photons=row.dose_photons,
            structure=row.structure,
            pixels=row.pixels,
            within_one=round(row.within_one, 4),
            within_two=round(row.within_two, 4),
        )
        for row in rows
    )


def as_text(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, and how many meet the goal."""
    lines = [
        "| photons | structure | frames | within 1 sd, % | within 2 sd, % | sd, counts | rms error | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row.dose_photons
        lines.append(
            f"| {low:g} to {high:g} | {row.structure} | {row.frames}"
            f" | {100 * row.within_one:.1f} ± {100 * row.within_one_error:.1f}"
            f" | {100 * row.within_two:.1f} ± {100 * row.within_two_error:.1f}"
            f" | {row.sd:.2f} | {row.rms_error:.2f} | {_verdict(row)} |"
        )
    met, surely = sum(row.met for row in rows), sum(row.surely_missed for row in rows)
    said = f"{met} of {len(rows)} bins within 68 ± 5 % and 95 ± 3 %; {surely} outside by more than two errors"
    return "\n".join([*lines, "", said])


def _verdict(row: Row) -> str:
    """Return whether the goal is met and, if not, whether this is significant."""
    if row.met:
        return "met"
    return "missed" if row.surely_missed else "missed, within two errors"


def as_csv(rows: Sequence[Row], *, world: str) -> str:
    """Return the rows as CSV without a header; the first column is the simulator."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        values = asdict(row)
        low, high = values.pop("dose_photons")
        writer.writerow([world, low, high, *values.values(), row.met])
    return buffer.getvalue()
