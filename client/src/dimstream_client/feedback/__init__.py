"""Feedback: rules that turn the server's results into advice, or into changes of a running acquisition.

`Advisor` decides and changes nothing. `FeedbackLoop` logs each decision and, in the mode ``act``, lets a
`Driver` carry it out; `dimstream_client.micromanager` has the driver for pymmcore-plus. See docs/feedback.md.
"""

from dimstream_client.feedback.actions import Action, Change, Limits, Note, Pause, Stop
from dimstream_client.feedback.advisor import Advisor, Mode, Rule
from dimstream_client.feedback.conditions import Condition, Fading, LowDose, Moved, Saturated, Suspect
from dimstream_client.feedback.decisions import Decision, DecisionLog
from dimstream_client.feedback.loop import ActionRefused, Driver, FeedbackLoop
from dimstream_client.feedback.observations import Observation, observation_of
from dimstream_client.feedback.rules_file import RuleSet, read_rules

__all__ = [
    "Action",
    "ActionRefused",
    "Advisor",
    "Change",
    "Condition",
    "Decision",
    "DecisionLog",
    "Driver",
    "Fading",
    "FeedbackLoop",
    "Limits",
    "LowDose",
    "Mode",
    "Moved",
    "Note",
    "Observation",
    "Pause",
    "Rule",
    "RuleSet",
    "Saturated",
    "Stop",
    "Suspect",
    "observation_of",
    "read_rules",
]
