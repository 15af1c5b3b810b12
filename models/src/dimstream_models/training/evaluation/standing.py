"""Where a model stands on pairs with a truth: against its own input, and against the best tuned filter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.filters import Example, TunedFilter, fitted_error, tune_filters
from dimstream_models.training.evaluation.margins import Margin, margin, sentence
from dimstream_models.training.evaluation.restoring import Restore


@dataclass(frozen=True)
class Standing:
    """Margins over the noisy image and over the best filter, once each was brought to the truth's scale."""

    noisy: Margin
    best: Margin
    tuned: TunedFilter

    def figures(self, name: str) -> dict[str, float]:
        """Return the margins as figures of a bundle, and which filter it was."""
        return {
            **self.noisy.figures(f"{name}_over_noisy"),
            **self.best.figures(f"{name}_margin"),
            f"{name}_filter_{self.tuned.name}": self.tuned.strength,
        }

    def sentence(self, what: str) -> str:
        """Return the sentence; `what` is the name of one image."""
        return sentence(self.noisy.images, what, self.noisy, self.best, str(self.tuned))


def measure_standing(
    restore: Restore,
    judged: Iterable[Example],
    *,
    tuned_on: Sequence[Example],
    noise: Sequence[float] | None = None,
) -> Standing:
    """Return where the model stands on some images, with filters tuned on others.

    Parameters
    ----------
    restore : Restore
        The model.
    judged : iterable of (noisy, truth)
        Taken one by one.
    tuned_on : sequence of (noisy, truth)
        What the filters are tuned on: not the judged ones.
    noise : sequence of float, optional
        Variance of each judged truth's own noise, where it is known and matters.

    Raises
    ------
    CannotEvaluate
        When there is nothing to judge or to tune on.
    """
    if not tuned_on:
        raise CannotEvaluate("expected images to tune filters on, got none")
    best = tune_filters(tuned_on)[0]
    errors = [
        [fitted_error(image, truth) for image in (restore(noisy), noisy, best(noisy))]
        for noisy, truth in tqdm(judged, desc="against filters", unit="image")
    ]
    if not errors:
        raise CannotEvaluate("expected images to judge on, got none")
    ours, raw, filtered = np.asarray(errors).T.tolist()
    return Standing(margin(ours, raw, noise=noise), margin(ours, filtered, noise=noise), best)
