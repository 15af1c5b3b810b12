"""Evaluates a bundle on pairs that were not used for any choice: all metrics, one image in memory at a
time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from dimstream_models.bundle import Bundle
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.filters import Rivals, tune_rivals
from dimstream_models.training.evaluation.gains import Margin, margin, sentence
from dimstream_models.training.evaluation.metric_tables import Kind, Row
from dimstream_models.training.evaluation.pictures import Shown
from dimstream_models.training.evaluation.restoring import has_own_scale, restorer
from dimstream_models.training.evaluation.scoring import Perceptual, Recorded, Scorer, ScoringSettings
from dimstream_models.training.pairs.pair_reader import Pair, read_pairs
from dimstream_models.training.pairs.prepared import Role, is_prepared

T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """All figures of a bundle on some pairs, and the pairs that the report shows."""

    bundle: Bundle
    pairs: str  # source of the pairs
    settings: ScoringSettings
    rows: tuple[Row, ...]
    shown: tuple[tuple[str, Shown], ...]  # why the pair was chosen, and its images
    rivals: Rivals | None = None  # the best tuned filters

    @property
    def sentence(self) -> str:
        """The summary in one sentence: better or worse than the noisy image and the best filter."""
        if self.rivals is None or (over := self._margins()) is None:
            return (
                "It is unknown whether the model is better than the noisy image: no PSNR could be calculated."
            )
        return sentence(over[0].images, "pair", *over, str(self.rivals))

    def figures(self, name: str) -> dict[str, float]:
        """Return both margins as figures for a bundle."""
        over = self._margins()
        if over is None:
            return {}
        return over[0].figures(f"{name}_over_noisy") | over[1].figures(f"{name}_margin")

    def _margins(self) -> tuple[Margin, Margin] | None:
        """Return the margins over the noisy image and the best filter; None without PSNR."""
        found = [self._errors(kind) for kind in ("fitted", "noisy", "filter")]
        names = [name for name in found[0] if all(name in each for each in found)]
        if not names:
            return None
        ours, noisy, filtered = ([each[name] for name in names] for each in found)
        return margin(ours, noisy), margin(ours, filtered)

    def _errors(self, kind: Kind) -> dict[int, float]:
        """Return the mean square error divided by the squared data range, by number of the pair within a
        kind."""
        found = (row.figures["psnr"].value for row in self.rows if row.kind == kind)
        return {index: 10 ** (-value / 10) for index, value in enumerate(found) if value is not None}


def evaluate(
    bundle: Bundle,
    pairs: Path,
    *,
    role: Role = "test",
    again: Path | None = None,
    settings: ScoringSettings | None = None,
    lpips: Perceptual | None = None,
) -> Evaluation:
    """Return all figures of a bundle on pairs.

    Parameters
    ----------
    bundle : Bundle
    pairs : Path
        A source for `read_pairs`.
    role : Role
        Role of the fields of a prepared folder.
    again : Path or None
        A second recording of the same fields, in the same order.
    settings : ScoringSettings or None
        None: the defaults.
    lpips : Perceptual or None
        None: LPIPS is not calculated.

    Raises
    ------
    CannotEvaluate
        When a pair has no truth, or images do not match; the message names the pair.
    InvalidPairs, InvalidPrepared
        When pairs cannot be read.
    TestTensorMismatch
        When the bundle does not reproduce its test output.
    """
    settings = settings or ScoringSettings()
    rivals = tune_rivals(pairs, role)
    scorer = Scorer(restorer(bundle), has_own_scale(bundle), settings, lpips, rivals)
    rows: list[Row] = []
    for recorded in tqdm(_recorded(pairs, role, again), desc="pairs", unit="pair"):
        rows += _named(recorded, scorer.rows)
    if not rows:
        raise CannotEvaluate(f"expected at least one pair at {pairs}, got none")
    chosen = _chosen(rows)
    shown = {
        recorded.index: _named(recorded, scorer.shown)
        for recorded in _recorded(pairs, role, again)
        if recorded.index in chosen
    }
    pictures = tuple((why, shown[index]) for index, why in chosen.items())
    where = f"{pairs} ({role} fields)" if is_prepared(pairs) else str(pairs)
    return Evaluation(bundle, where, settings, tuple(rows), pictures, rivals)


def _named(recorded: Recorded, function: Callable[[Recorded], T]) -> T:
    try:
        return function(recorded)
    except CannotEvaluate as error:
        raise CannotEvaluate(f"{recorded.pair.name}: {error}") from error


def _recorded(pairs: Path, role: Role, again: Path | None) -> Iterator[Recorded]:
    first = read_pairs(pairs, role=role)
    if again is None:
        yield from (Recorded(index, pair) for index, pair in enumerate(first))
        return
    both = zip_longest(first, read_pairs(again, role=role))
    for index, (pair, second) in enumerate(both):
        if pair is None or second is None:
            raise CannotEvaluate(f"expected as many pairs in {again} as in {pairs}: one has {index}")
        _require_two_recordings(pair, second)
        yield Recorded(index, pair, second)


def _require_two_recordings(pair: Pair, second: Pair) -> None:
    if pair.low.shape != second.low.shape:
        raise CannotEvaluate(
            f"expected two recordings of one shape, got {pair.low.shape} in {pair.name} and"
            f" {second.low.shape} in {second.name}"
        )
    if np.array_equal(pair.low, second.low):
        raise CannotEvaluate(
            f"expected two recordings, got the same image as {pair.name} and {second.name}: its noise "
            "correlates with itself, so this does not measure resolution"
        )


def _chosen(rows: Sequence[Row]) -> dict[int, str]:
    """Return the pairs to show, by number, with the reason: those with median, highest and lowest SSIM."""
    found = [row.figures["ssim"].value or 0.0 for row in rows if row.kind == "fitted"]
    order = sorted(range(len(found)), key=found.__getitem__)
    why = {order[len(order) // 2]: "median", order[-1]: "highest", order[0]: "lowest"}
    return {
        index: f"the prediction with the {what} SSIM after the fit of a line" for index, what in why.items()
    }
