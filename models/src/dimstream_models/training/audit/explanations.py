"""What an audit's figures mean, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dimstream_models.training.audit.alarms import ALLOWED, NOTICED_WITHIN
from dimstream_models.training.audit.conditions import ENOUGH_PHOTONS
from dimstream_models.training.audit.pixels import INVENTED, REAL
from dimstream_models.training.audit.simulated_movies import LEAST_SHOWN

CAPTIONS: Final[Mapping[str, str]] = {
    "gallery.png": "From left to right: raw counts, the prediction, the truth (white is twice the dose) and"
    " the support map, with what both halves of the photons disagree on where they were compared.",
    "roc.png": "Each score as a threshold that moves. The decision is the smallest margin of all scores over"
    " their thresholds.",
    "histograms.png": "All frames after the first of simulated movies; the axes are logarithmic outwards.",
    "delays.png": "0: the first frame without the sample's light is suspect.",
    "false_alarms.png": "Suspect frames after the first of movies that show a sample.",
    "missed.png": "Frames of empty fields that are not suspect.",
    "claims.png": "On the grey line the flag's probabilities are what they say; above it they are smaller"
    " than they should be. Small ones are those that doubt the frame (p_signal) or believe it (p_dark).",
    "pixels.png": "The support map against the truth, in movies that show a sample.",
}
"""Of each picture."""

STATEMENTS: Final[Mapping[str, str]] = {
    "Worlds": "simulator is the one that models are trained on, with scenes of seeds of its own; other has"
    " other samples, another point spread function, and a detector with dead time and an uneven dark rate."
    f" Fields of which less than {LEAST_SHOWN:.0%} reaches half a typical structure's peak were drawn again."
    " How far both worlds are apart is an uncertainty of its own that more movies do not remove.",
    "Intervals": "95 %, by a bootstrap over whole movies. Where nothing varies it sees nothing;"
    " beside it stands the interval as if each movie were one observation. Clopper-Pearson takes frames"
    " for independent, which they are not. In tables, in brackets: the bootstrap's interval and the number"
    " of movies.",
    "Signal": f"frames after the first of movies with {ENOUGH_PHOTONS:g} photon and more on a typical"
    " structure's peak, bleaching ones as long as that holds; saturated and dying movies are not among"
    " them.",
    "Decision": "the smallest of all margins over the flag's thresholds, below 0 where the flag is"
    " suspect, but for its hysteresis and for saturation.",
    "Flag": "as a score: suspect 0, unjudged 1/2, ok 1; its area under the curve is the mean of the shares"
    " of both kinds that it calls right.",
    "Noticed": f"a sample's end is noticed within {NOTICED_WITHIN} frames when one of the first"
    f" {NOTICED_WITHIN} frames without its light is suspect; at {ALLOWED:.0%} false alarms: when the"
    f" decision score is below what {ALLOWED:.0%} of the signal frames have.",
    "Support map": f"predicted pixels are invented where no truth within 3 px reaches {INVENTED:g} of the"
    f" dose, and real where it reaches {REAL:g}; those between are left out. Taken on the frames whose"
    " photons were to be split, with the split-photon check on those where they could be. Invented ones are"
    " few where the network is good; the precision cannot be high then.",
}
"""How the figures were taken."""
