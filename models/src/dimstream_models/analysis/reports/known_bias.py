"""What is known of the error of each figure, to be said beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dimstream_models.analysis.effects import Effect, is_relative, stored_effects
from dimstream_models.er_figures import FIGURES


@dataclass(frozen=True)
class KnownBias:
    """Found less true, by figure, as it was measured on simulations.

    Parameters
    ----------
    dose : str
        Photons on a tubule's pixel before denoising.
    model : str
        That denoised.
    scenes : int
    effects : dict of str to Effect
        Empty where nothing was measured for the labels of a cell.
    """

    dose: str
    model: str
    scenes: int
    effects: Mapping[str, Effect]

    def of(self, figure: str) -> str:
        """Return the mean and the deviation of found less true; empty where it is not known."""
        if figure not in self.effects:
            return ""
        return self.effects[figure].text(relative=is_relative(figure))

    def line(self, figures: Iterable[str], titles: Mapping[str, str] | None = None) -> str:
        """Return one line for several figures, or that their errors are not known."""
        if not self.effects:
            return "error not known for these labels"
        names = titles or {}
        parts = [f"{names.get(each, FIGURES[each].title)} {self.of(each)}" for each in figures]
        return f"known error at {self.dose} ph: {'; '.join(parts)}"


def known_bias(segmenter: str | None, *, dose_ph: float) -> KnownBias:
    """Return what was measured for a segmenter at the dose nearest to the one given.

    Raises
    ------
    InvalidResults
        When the file of the package is damaged.
    """
    stored = stored_effects(segmenter)
    dose, effects = stored.at(dose_ph)
    known = effects if segmenter == stored.segmenter else {}
    return KnownBias(dose, stored.model, stored.scenes, known)
