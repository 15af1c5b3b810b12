"""How much denoising and segmentation change every figure of a frame, as measured on simulations."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import numpy as np
from pydantic import Field, ValidationError

from dimstream_models.analysis.errors import InvalidResults
from dimstream_models.bundle.schema import Confined
from dimstream_models.er_figures import FIGURES

NOISE_FREE: Final = "noise-free"
STORED: Final = "denoising_effect.json"
STORED_NETWORK: Final = "denoising_effect_network.json"
MEASURED: Final = (STORED, STORED_NETWORK)
"""Files of the package; the first is the classical segmenter's."""
EVENTS: Final = ("junctions_appeared", "junctions_vanished", "gaps_appeared", "gaps_vanished")
"""Changes since the frame before: born or split, lost or merged."""


class Effect(Confined):
    """How a figure of the result differs from that of the exact labels.

    Parameters
    ----------
    scenes : int
        Scenes that have the figure in both.
    true : float
        Mean of the exact labels' figure, in px.
    bias, spread : float
        Mean and standard deviation over scenes of found minus true, in px.
    """

    scenes: int = Field(ge=0)
    true: float
    bias: float
    spread: float = Field(ge=0)

    def text(self, *, relative: bool) -> str:
        """Return bias and spread as text, in percent of the true mean or unchanged."""
        if not relative:
            return f"{self.bias:+.3f} ± {self.spread:.3f}"
        if not self.true:
            return "none to compare"
        return f"{100 * self.bias / self.true:+.0f} ± {100 * self.spread / abs(self.true):.0f} %"


class Effects(Confined):
    """Effects on every figure at every dose, and the model and segmenter that were measured.

    Parameters
    ----------
    model, segmenter : str
        The bundle's id and hash; the segmenter's text.
    effects : dict
        By dose in photons per pixel on a tubule (``1``), or ``noise-free``; then by figure.
    """

    model: str
    segmenter: str
    scenes: int
    seed: int
    side_px: int
    effects: dict[str, dict[str, Effect]]

    def at(self, dose_ph: float) -> tuple[str, dict[str, Effect]]:
        """Return the measured dose with the smallest ratio to the given one, and the effects at it."""
        doses = [name for name in self.effects if name != NOISE_FREE]
        name = min(doses, key=lambda each: abs(np.log(float(each) / dose_ph)))
        return name, self.effects[name]


def stored_effects(segmenter: str | None = None) -> Effects:
    """Return the effects that were measured with the shipped bundle and a segmenter.

    Parameters
    ----------
    segmenter : str, optional
        The segmenter's text. Without it, or if it was not measured, the classical one's effects are returned.

    Raises
    ------
    InvalidResults
        When the package's own file is damaged.
    """
    measured = [_read(name) for name in MEASURED]
    return next((each for each in measured if each.segmenter == segmenter), measured[0])


def _read(name: str) -> Effects:
    content = files("dimstream_models.analysis").joinpath(name).read_bytes()
    try:
        return Effects.model_validate_json(content)
    except ValidationError as error:
        raise InvalidResults(f"{name}: {error}; install dimstream-models again") from error


def is_relative(figure: str) -> bool:
    """Return whether an effect is given in percent: yes for counts, lengths, areas and events, no for
    shares."""
    return figure in EVENTS or FIGURES[figure].counted or FIGURES[figure].dimension != 0
