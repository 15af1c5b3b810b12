"""Checks a bundle's error bars against the truth of two simulators, and against photons set aside."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimstream_models.bundle import Bundle
from dimstream_models.training.error_bars import coverage, movies
from dimstream_models.training.error_bars.adding import CHECK_SIDE_PX, Deviation, deviation_of
from dimstream_models.training.error_bars.coverage import Coverage, Row
from dimstream_models.training.error_bars.movies import MovieRow, judge_movie
from dimstream_models.training.error_bars.samples import Judged, Sample, World, our_world, second_world
from dimstream_models.training.errors import CannotEvaluate

WORLDS: Final[dict[str, World]] = {"other seeds": our_world, "second world": second_world}
NAME: Final = "error_bars"
_PICTURED: Final = (0.3, 3.0)  # photons; frames with similar doses are shown
_HEADER: Final = (
    "world,lowest_photons,highest_photons,structure,frames,pixels,within_one,within_one_error,within_two,"
    "within_two_error,sd,rms_error,met\n"
)


@dataclass(frozen=True)
class Checked:
    """Results: rows for each simulator, and for each movie."""

    worlds: dict[str, Sequence[Row]]
    movies: Sequence[MovieRow]

    @property
    def text(self) -> str:
        """All tables as text."""
        parts = [f"{world}\n\n{coverage.as_text(rows)}" for world, rows in self.worlds.items()]
        if self.movies:
            parts.append(f"photons set aside\n\n{movies.as_text(self.movies)}")
        return "\n\n".join(parts)


def check_error_bars(
    bundle: Bundle, out: Path, *, recorded: Sequence[Path] = (), frames: int = 300, seed: int = 1
) -> Checked:
    """Check a bundle's error bars, and write `error_bars.txt`, `.csv`, `.json` and `.png` into a folder.

    Parameters
    ----------
    recorded : sequence of Path
        Movies of photon counts.
    frames : int
        Simulated frames of each simulator.
    seed : int
        Seed of frames and photons; different from that of the fit.

    Raises
    ------
    CannotEvaluate
        When the bundle has no error bar, or was fitted with this seed.
    InvalidPairs, NotPhotonCounts
        When a movie cannot be used.
    """
    if bundle.error_bar is None:
        raise CannotEvaluate(
            f"expected a bundle with an error bar, but {bundle.id} has none: add one with `dimstream-train "
            "error-bar`"
        )
    if bundle.error_bar.record.seed == seed:
        raise CannotEvaluate(
            f"expected a different seed than that of the fit, got {seed}: give another --seed"
        )
    judged, deviation = Judged.of(bundle), deviation_of(bundle.error_bar.onnx, bundle)
    worlds: dict[str, Sequence[Row]] = {}
    pictured: list[tuple[Sample, Deviation]] = []
    for name, world in WORLDS.items():
        found = Coverage()
        for sample in judged.samples(
            world, seed=seed, purpose="error bars held back", number=frames, side_px=CHECK_SIDE_PX
        ):
            found.add(sample, deviation(sample.exposed.counts, sample.prediction))
            if len(pictured) < len(_PICTURED) and _is_near(sample, _PICTURED[len(pictured)]):
                pictured.append((sample, deviation))
        worlds[name] = found.rows()
    rows = [row for path in recorded for row in judge_movie(judged, deviation, path, seed=seed)]
    checked = Checked(worlds, rows)
    _write(out, checked, bundle, seed, _picture(judged, pictured))
    return checked


def _is_near(sample: Sample, photons: float) -> bool:
    exposed = sample.exposed
    return 0.7 < exposed.dose / photons < 1.4 and bool((exposed.structure > 0).mean() > 0.2)


def _write(out: Path, checked: Checked, bundle: Bundle, seed: int, picture: bytes) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{NAME}.txt").write_text(checked.text + "\n")
    lines = [coverage.as_csv(rows, world=world) for world, rows in checked.worlds.items()]
    (out / f"{NAME}.csv").write_text(_HEADER + "".join(lines))
    message = {
        "bundle": bundle.id,
        "sha256": bundle.sha256,
        "seed": seed,
        "worlds": {world: [asdict(row) for row in rows] for world, rows in checked.worlds.items()},
        "movies": [asdict(row) for row in checked.movies],
    }
    (out / f"{NAME}.json").write_text(json.dumps(message, indent=2) + "\n")
    (out / f"{NAME}.png").write_bytes(picture)


def _picture(judged: Judged, pictured: Sequence[tuple[Sample, Deviation]]) -> bytes:
    """Return a PNG of some frames: counts, denoised, truth, error bar, and error divided by error bar."""
    figure = Figure(figsize=(13, 2.9 * max(1, len(pictured))), layout="constrained")
    axes = figure.subplots(max(1, len(pictured)), 5, squeeze=False)
    for row, (sample, deviation) in zip(axes, pictured, strict=False):
        exposed = sample.exposed
        sd = deviation(exposed.counts, sample.prediction)
        truth = judged.counts_per_photon * exposed.light
        denoised = judged.denoised(sample.prediction)
        white = float(np.quantile(truth, 0.998))
        panels: tuple[tuple[NDArray[Any], str, str, float, float], ...] = (
            (
                exposed.counts,
                f"counts, {exposed.dose:.2g} photons",
                "magma",
                0,
                float(np.quantile(exposed.counts, 0.999)),
            ),
            (denoised, "denoised", "magma", 0, white),
            (truth, "truth", "magma", 0, white),
            (sd, "error bar (brightest: a third of the truth's)", "magma", 0, white / 3),
            ((denoised - truth) / sd, "error in error bars, -3 to 3", "RdBu_r", -3, 3),
        )
        for place, (image, title, colours, low, high) in zip(row, panels, strict=True):
            place.imshow(image[:128, :128], cmap=colours, vmin=low, vmax=max(high, 1e-6))
            place.set_title(title, fontsize=8)
    for place in axes.ravel():
        place.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()
