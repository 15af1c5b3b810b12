"""The next setting of a search, as a function of the settings that were tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial

from dimstream_models.training.search.outcomes import Figures
from dimstream_models.training.search.scoring import total_scores
from dimstream_models.training.search.space import Setting, all_settings, name_of
from dimstream_models.training.settings import Recipe, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)  # otherwise every proposal logs its study
ATTEMPTS = 20  # proposals of settings that were already tried, before the seeded order is used


@dataclass(frozen=True)
class Tried:
    """A setting that is running, has failed, or has figures."""

    setting: Setting
    running: bool
    figures: Figures | None


def next_setting(recipe: Recipe, tried: Sequence[Tried]) -> Setting | None:
    """Return a setting that was not tried yet; None when the search, or its space, is exhausted."""
    search = recipe.search
    names = {name_of(run.setting) for run in tried}
    untried = [each for each in all_settings(search.space, seed=recipe.seed) if name_of(each) not in names]
    if not untried or (search.sampler != "grid" and len(tried) >= search.trials):
        return None
    if search.sampler == "tpe":
        return _promising(search.space, tried, untried, seed=recipe.seed + len(tried))
    return untried[0]


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the space as Optuna's distributions."""
    return {knob: CategoricalDistribution(values) for knob, values in space.model_dump().items()}


def _promising(
    space: SearchSpace, tried: Sequence[Tried], untried: Sequence[Setting], *, seed: int
) -> Setting:
    """Return the proposal of a tree-structured Parzen estimator for a higher total score.

    Bergstra et al. 2011 (Algorithms for hyper-parameter optimization, NIPS 24). The score is relative to the
    runs so far, so scores are recalculated for each proposal. A failed run counts as worse than any
    successful one (Optuna's *pruned*). An unfinished run is assumed to be poor, so that processes try
    different settings.
    """
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    )
    scores = total_scores([run.figures for run in tried])
    for run, score in zip(tried, scores, strict=True):
        finished = TrialState.PRUNED if score is None else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING if run.running else finished,
                value=None if score is None else score.total,
                params=dict(run.setting),
                distributions=distributions(space),
            )
        )
    for _ in range(ATTEMPTS):
        proposed = study.ask(distributions(space)).params
        if proposed in untried:
            return proposed
    return untried[0]
