"""Errors of the training package.

TrainingError
├── InvalidRecipe        a settings file that cannot be obeyed
├── Diverged             the loss exceeded its limit or is no number: the run has failed
├── CheckpointMismatch   a run folder that belongs to another recipe
└── ParityError          an exported graph that does not compute what torch computes
"""


class TrainingError(Exception):
    """Base of everything that the training package refuses."""


class InvalidRecipe(TrainingError):
    """A settings file that cannot be obeyed."""


class Diverged(TrainingError):
    """The loss exceeded its limit or is no number: the run has failed."""


class CheckpointMismatch(TrainingError):
    """A run folder that belongs to another recipe."""


class ParityError(TrainingError):
    """An exported graph that does not compute what torch computes."""
