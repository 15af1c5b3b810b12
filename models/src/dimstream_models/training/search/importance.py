"""Which settings matter, and which of their values are best: a random forest on the trials of a study.

Source: the paper's Methods, "Feature importance" (scikit-learn's RandomForestRegressor on the settings and
total scores of all runs), and Results, SI tables 1 and 2. Details that the paper does not state:

- Numbers are replaced by their rank among the values tried, since a tree uses only the order (no clipping is
  the largest bound). Categories are one-hot columns.
- *Impurity importance*: how much splits on a setting reduce the variance, as shares of 1; the columns of a
  category are summed. It favours settings with many values, and is measured on the training runs of the
  forest.
- *Permutation importance*: how much R² falls on unseen runs when a setting is shuffled, over five folds with
  ten shuffles each; its spread is their standard deviation. If it is negative, the setting has no influence.
- *Suitability* of a value: the mean predicted score when every run has that value and keeps its other
  settings (partial dependence: Friedman 2001, doi 10.1214/aos/1013203451), scaled for each setting from 0,
  its worst value, to 1, its best. A plain mean of scores would include effects of the other settings of these
  runs.
- Failed runs have no score and are left out. Their number is given for each value, and a value with which
  every run failed has suitability 0.

Importances and suitabilities are written as tables and as a chart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold

from dimstream_models.training.errors import SearchError
from dimstream_models.training.search.report import DONE, FAILED, label, png
from dimstream_models.training.search.results import as_csv, stated
from dimstream_models.training.search.scoring import total_scores
from dimstream_models.training.search.space import PLACES, Setting, Value, in_order
from dimstream_models.training.search.study import Trial
from dimstream_models.whole_files import write_whole

FOLDS: Final = 5
SHUFFLES: Final = 10
TREES: Final = 200
LEAST_RUNS: Final = 2 * FOLDS
"""Fewest runs, so that every fold has at least two, which R² requires."""
MEANINGLESS_BELOW: Final = 0.3
"""R² on unseen runs below which there is a warning."""

Codes: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class ValueSuitability:
    """One value of a setting."""

    value: Value
    succeeded: int
    failed: int
    mean_score: float | None
    """Mean score of its successful runs."""
    expected_score: float | None
    """Score that the forest predicts when every run has this value; None: all its runs failed."""
    suitability: float | None
    """0 (worst value of the setting) to 1 (best); None when this was the only value."""


@dataclass(frozen=True)
class KnobImportance:
    """Importance of one setting."""

    knob: str
    impurity: float
    permutation: float
    permutation_spread: float
    values: tuple[ValueSuitability, ...]
    """Sorted by size, or by name."""


@dataclass(frozen=True)
class Importance:
    """Results of the forest, and how reliable they are."""

    knobs: tuple[KnobImportance, ...]
    """Most important first, by permutation."""
    runs: int
    failed: int
    r_squared: float
    """R² on unseen runs (five folds)."""
    r_squared_out_of_bag: float
    """R² on the runs that each tree has not seen."""

    @property
    def verdict(self) -> str:
        """Return a sentence on how far the importances can be trusted."""
        share = f"On unseen runs, the forest explains {max(self.r_squared, 0):.0%} of the score's"
        share += f" variance (R² {self.r_squared:.2f} over {FOLDS} folds of {self.runs} runs)"
        if self.r_squared < MEANINGLESS_BELOW:
            return f"{share}: too little for meaningful importances and suitabilities; more runs may help."
        return f"{share}."


def measure_importance(trials: Sequence[Trial], *, seed: int = 0) -> Importance:
    """Return the importance of every setting and the suitability of every value.

    Parameters
    ----------
    trials : sequence of Trial
        Trials of a study; failed ones are counted, unfinished ones are left out.
    seed : int
        Seed of forest, folds and shuffles.

    Raises
    ------
    SearchError
        When fewer than ten runs succeeded, or all have the same score.
    """
    finished = [(each.setting, each.outcome.figures) for each in trials if each.outcome]
    failed = [setting for setting, figures in finished if figures is None]
    if len(finished) - len(failed) < LEAST_RUNS:
        raise SearchError(
            f"expected at least {LEAST_RUNS} successful runs, got {len(finished) - len(failed)} (and "
            f"{len(failed)} that failed): raise --trials and continue the search"
        )
    done = [setting for setting, figures in finished if figures]
    scores = np.array([each.total for each in total_scores([figures for _, figures in finished]) if each])
    if np.ptp(scores) == 0:
        raise SearchError(
            f"expected runs with different scores, got {len(done)} with the same total score: no setting "
            "matters"
        )
    return _from_forests(_Table.of(done), scores, failed, seed)


@dataclass(frozen=True)
class _Table:
    """The settings of all runs, as ranks among the values tried."""

    values: tuple[tuple[Value, ...], ...]  # of each setting, in order
    codes: Codes  # (runs, knobs)

    @classmethod
    def of(cls, settings: Sequence[Setting]) -> _Table:
        values = tuple(in_order(each[knob] for each in settings) for knob in PLACES)
        codes = [[v.index(each[knob]) for knob, v in zip(PLACES, values, strict=True)] for each in settings]
        return cls(values, np.array(codes))

    def widths(self) -> list[int]:
        """Return the number of columns of each setting; a category has one per value."""
        return [len(v) if any(isinstance(each, str) for each in v) else 1 for v in self.values]

    def columns(self, codes: Codes) -> Floats:
        """Return the forest's input, (runs, columns)."""
        blocks = [
            codes[:, i : i + 1] if width == 1 else np.eye(width)[codes[:, i]]
            for i, width in enumerate(self.widths())
        ]
        return np.concatenate(blocks, axis=1).astype(np.float64)


@dataclass(frozen=True)
class _Forest:
    """A random forest on settings."""

    table: _Table
    forest: Any  # scikit-learn's

    @classmethod
    def of(cls, table: _Table, codes: Codes, scores: Floats, seed: int) -> _Forest:
        forest = RandomForestRegressor(TREES, oob_score=True, random_state=seed)
        return cls(table, forest.fit(table.columns(codes), scores))

    def predict(self, codes: Codes) -> Floats:
        """Return the expected score of settings: from (..., settings) to (...)."""
        flat = codes.reshape(-1, codes.shape[-1])
        return np.asarray(self.forest.predict(self.table.columns(flat))).reshape(codes.shape[:-1])

    def impurity(self) -> Floats:
        """Return the impurity importance of each setting, (settings,); the columns of a category are
        summed."""
        widths = self.table.widths()
        owners = np.repeat(np.arange(len(widths)), widths)
        return np.bincount(owners, self.forest.feature_importances_, len(widths)).astype(np.float64)


def _from_forests(table: _Table, scores: Floats, failed: Sequence[Setting], seed: int) -> Importance:
    forest = _Forest.of(table, table.codes, scores, seed)
    impurity = forest.impurity()
    falls, r_squared = _on_unseen_runs(table, scores, seed)
    knobs = [
        KnobImportance(
            knob=knob,
            impurity=float(impurity[i]),
            permutation=float(falls[i].mean()),
            permutation_spread=float(falls[i].std(ddof=1)),
            values=_suitabilities(forest, i, scores, [each[knob] for each in failed]),
        )
        for i, knob in enumerate(PLACES)
    ]
    return Importance(
        knobs=tuple(sorted(knobs, key=lambda each: -each.permutation)),
        runs=len(scores),
        failed=len(failed),
        r_squared=r_squared,
        r_squared_out_of_bag=float(forest.forest.oob_score_),
    )


def _on_unseen_runs(table: _Table, scores: Floats, seed: int) -> tuple[Floats, float]:
    """Return the falls of R² for each setting, (settings, folds * shuffles), and R² itself.

    Errors are relative to the variance of all runs, because that of a small fold is uncertain.
    """
    rng, falls, errors = np.random.default_rng(seed), [], np.empty_like(scores)
    for seen, unseen in KFold(FOLDS, shuffle=True, random_state=seed).split(scores):
        forest = _Forest.of(table, table.codes[seen], scores[seen], seed)
        errors[unseen] = np.square(forest.predict(table.codes[unseen]) - scores[unseen])
        shuffled = np.square(forest.predict(_shuffled(table.codes[unseen], rng)) - scores[unseen])
        falls.append(shuffled.mean(axis=-1) - errors[unseen].mean())  # (knobs, shuffles)
    return np.concatenate(falls, axis=1) / scores.var(), float(1 - errors.mean() / scores.var())


def _shuffled(codes: Codes, rng: np.random.Generator) -> Codes:
    """Return copies of the runs with one setting shuffled in each, (settings, shuffles, runs, settings)."""
    knobs = codes.shape[1]
    copies = np.tile(codes, (knobs, SHUFFLES, 1, 1))
    for knob in range(knobs):
        for copy in copies[knob]:
            rng.shuffle(copy[:, knob])
    return copies


def _suitabilities(
    forest: _Forest, knob: int, scores: Floats, failed: Sequence[Value]
) -> tuple[ValueSuitability, ...]:
    table = forest.table
    tried, codes = table.values[knob], table.codes[:, knob]
    given = np.tile(table.codes, (len(tried), 1, 1))  # (values, runs, knobs): every run with each value
    given[:, :, knob] = np.arange(len(tried))[:, None]
    expected = dict(zip(tried, forest.predict(given).mean(axis=1).tolist(), strict=True))
    everything = in_order([*tried, *failed])

    def rate(value: Value) -> ValueSuitability:
        own = scores[codes == tried.index(value)] if value in tried else scores[:0]
        return ValueSuitability(
            value=value,
            succeeded=len(own),
            failed=failed.count(value),
            mean_score=float(own.mean()) if len(own) else None,
            expected_score=expected.get(value),
            suitability=_suitability(value, expected) if len(everything) > 1 else None,
        )

    return tuple(rate(value) for value in everything)


def _suitability(value: Value, expected: dict[Value, float]) -> float:
    if value not in expected:
        return 0.0
    worst, best = min(expected.values()), max(expected.values())
    return 1.0 if best == worst else (expected[value] - worst) / (best - worst)


def write_importance(importance: Importance, folder: Path) -> None:
    """Write `importance.csv` (one line per setting), `suitability.csv` (one line per value) and
    `importance.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = {
        "runs": importance.runs,
        "failed": importance.failed,
        "r_squared": importance.r_squared,
        "r_squared_out_of_bag": importance.r_squared_out_of_bag,
    }
    knobs = [
        {
            "knob": knob.knob,
            "permutation": knob.permutation,
            "permutation_spread": knob.permutation_spread,
            "impurity": knob.impurity,
            **shared,
        }
        for knob in importance.knobs
    ]
    values = [
        {"knob": knob.knob, **asdict(value), "value": stated(value.value)}
        for knob in importance.knobs
        for value in knob.values
    ]
    write_whole(folder / "importance.csv", as_csv(tuple(knobs[0]), knobs))
    write_whole(folder / "suitability.csv", as_csv(tuple(values[0]), values))
    write_whole(folder / "importance.png", draw_importance(importance))


def draw_importance(importance: Importance) -> bytes:
    """Return a PNG: both importances of each setting, and the expected score of each of its values."""
    figure = Figure(figsize=(14, 8), layout="constrained")
    figure.suptitle(importance.verdict, fontsize=10)
    [[left, right]] = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 2))
    _importance_bars(left.subplots(), importance.knobs)
    for axes, knob in zip(right.subplots(2, 3, sharey=True).flat, importance.knobs, strict=True):
        _suitability_bars(axes, knob)
    right.supylabel("expected total score; above: suitability within the setting")
    return png(figure)


def _importance_bars(axes: Axes, knobs: Sequence[KnobImportance]) -> None:
    places = np.arange(len(knobs))
    axes.barh(places - 0.2, [knob.impurity for knob in knobs], 0.38, label="impurity, share of 1")
    axes.barh(
        places + 0.2,
        [knob.permutation for knob in knobs],
        0.38,
        xerr=[knob.permutation_spread for knob in knobs],
        label="permutation, fall of R² (bar: standard deviation)",
    )
    axes.set_yticks(places, [knob.knob for knob in knobs])
    axes.invert_yaxis()
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_xlabel("importance")
    axes.legend(fontsize=8, loc="lower right")


def _suitability_bars(axes: Axes, knob: KnobImportance) -> None:
    for place, value in enumerate(knob.values):
        height = value.expected_score or 0.0
        axes.bar(place, height, color=DONE if value.expected_score is not None else FAILED)
        rated = "only value" if value.suitability is None else f"{value.suitability:.2f}"
        failed = f"\n{value.failed} failed" if value.failed else ""
        axes.text(place, height + 0.01, rated + failed, ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(knob.values)), [label(value.value) for value in knob.values], fontsize=8)
    axes.set(xlabel=knob.knob, ylim=(0, 1.15))
