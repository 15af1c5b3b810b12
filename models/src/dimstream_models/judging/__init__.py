"""Whether a prediction can be believed: the flag of a frame, from all that speaks for and against it.

One `PlaneJudge` follows one (channel, z, position) of a stream. The same code flags frames in the server
and is put to the test by `dimstream-train audit`. `docs/flags.md` explains the rules to the people who use
them.
"""

from dimstream_models.judging.criteria import FIVE_SIGMA, Criteria, Distribution
from dimstream_models.judging.evidence import Evidence, FlagName, Judgement, Note
from dimstream_models.judging.judge import PlaneJudge
from dimstream_models.judging.memory import WINDOW, PlaneMemory

__all__ = [
    "FIVE_SIGMA",
    "WINDOW",
    "Criteria",
    "Distribution",
    "Evidence",
    "FlagName",
    "Judgement",
    "Note",
    "PlaneJudge",
    "PlaneMemory",
]
