"""Whether a prediction can be trusted: the flag of each frame, from all quality metrics.

`assess` collects the metrics of a frame. The `PlaneJudge` of its (channel, z, position) then decides the
flag. The server flags frames with this code, and `dimstream-train audit` tests the same code. `docs/flags.md`
explains the rules to users.
"""

from dimstream_models.judging.assessment import (
    Agreement,
    Assessment,
    Conditions,
    DenoisedFrame,
    Split,
    assess,
)
from dimstream_models.judging.criteria import FIVE_SIGMA, Criteria, Distribution
from dimstream_models.judging.forecast import Decline, FramesLeft
from dimstream_models.judging.frame_metrics import FlagDecision, FlagName, FrameMetrics, Note
from dimstream_models.judging.judge import PlaneJudge
from dimstream_models.judging.measures import Measures
from dimstream_models.judging.plane_history import WINDOW, PlaneHistory
from dimstream_models.judging.previous_frame import PreviousFrame, gap_before, why_not_comparable
from dimstream_models.judging.raw_findings import RawFindings

__all__ = [
    "FIVE_SIGMA",
    "WINDOW",
    "Agreement",
    "Assessment",
    "Conditions",
    "Criteria",
    "Decline",
    "DenoisedFrame",
    "Distribution",
    "FlagDecision",
    "FlagName",
    "FrameMetrics",
    "FramesLeft",
    "Measures",
    "Note",
    "PlaneHistory",
    "PlaneJudge",
    "PreviousFrame",
    "RawFindings",
    "Split",
    "assess",
    "gap_before",
    "why_not_comparable",
]
