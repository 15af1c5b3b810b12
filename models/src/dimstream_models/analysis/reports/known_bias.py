"""The known error of each figure, which is printed next to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dimstream_models.analysis.effects import Effect, is_relative, stored_effects
from dimstream_models.er_figures import FIGURES


@dataclass(frozen=True)
class KnownBias:
    """Found minus true, by figure, as measured on simulations.

    Parameters
    ----------
    dose : str
        Photons per pixel on a tubule before denoising.
    model : str
        The denoising model.
    scenes : int
    effects : dict of str to Effect
        Empty if nothing was measured for the labels of a cell.
    """

    dose: str
    model: str
    scenes: int
    effects: Mapping[str, Effect]

    def of(self, figure: str) -> str:
        """Return mean and standard deviation of found minus true as text; empty when unknown."""
        if figure not in self.effects:
            return ""
        return self.effects[figure].text(relative=is_relative(figure))

    def line(self, figures: Iterable[str], titles: Mapping[str, str] | None = None) -> str:
        """Return one line for several figures, or a statement that their errors are unknown."""
        if not self.effects:
            return "error not known for these labels"
        names = titles or {}
        parts = [f"{names.get(each, FIGURES[each].title)} {self.of(each)}" for each in figures]
        return f"known error at {self.dose} ph: {'; '.join(parts)}"


def known_bias(segmenter: str | None, *, dose_ph: float) -> KnownBias:
    """Return the known error of a segmenter at the measured dose nearest to the given one.

    Raises
    ------
    InvalidResults
        When the package's own file is damaged.
    """
    stored = stored_effects(segmenter)
    dose, effects = stored.at(dose_ph)
    known = effects if segmenter == stored.segmenter else {}
    return KnownBias(dose, stored.model, stored.scenes, known)
