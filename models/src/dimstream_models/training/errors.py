"""Errors of the training package.

TrainingError
├── InvalidRecipe        a settings file that cannot be obeyed
├── InvalidPairs         images or a pairs list that cannot be used
│   └── NotPhotonCounts  photons are to be split, and the data are no photon counts
├── InvalidPrepared      a folder that `prepare` did not write, or whose files changed
├── Diverged             the loss exceeded its limit or is no number: the run has failed
├── CheckpointMismatch   a run folder that belongs to another recipe
├── CannotLoad           a bundle whose weights do not fit the network of a recipe
├── OutOfMemory          not even one patch fits the memory
├── NotAvailable         a device, a precision or a package that this machine does not have
├── InvalidKerasFile     weights or a configuration that the published code cannot have written
├── SearchError          a study that cannot be gone on with, or in which no run succeeded
├── CannotCalibrate      movies or pairs from which no scale or threshold follows
├── CannotEvaluate       pairs or settings on which a figure cannot be taken
├── CannotAdapt          movies, a stream or a bundle from which nothing can be learned
├── NotBetter            an adapted network that its own movies do not confirm
├── NotInForce           an adapted bundle that a stream or its server does not take any more
├── ServerRefusal        a server that does not answer, or does not do what it is asked
├── PoorModel            a bundle against which something speaks, and `--strict` was given
└── ParityError          an exported graph that does not compute what torch computes
"""


class TrainingError(Exception):
    """Base of everything that the training package refuses."""


class InvalidRecipe(TrainingError):
    """A settings file that cannot be obeyed."""


class InvalidPairs(TrainingError):
    """Images or a pairs list that cannot be used."""


class NotPhotonCounts(InvalidPairs):
    """Photons are to be split, and the data are no photon counts."""


class InvalidPrepared(TrainingError):
    """A folder that `prepare` did not write, or whose files changed."""


class Diverged(TrainingError):
    """The loss exceeded its limit or is no number: the run has failed."""


class CheckpointMismatch(TrainingError):
    """A run folder that belongs to another recipe."""


class CannotLoad(TrainingError):
    """A bundle whose weights do not fit the network of a recipe."""


class OutOfMemory(TrainingError):
    """Not even one patch fits the memory."""


class NotAvailable(TrainingError):
    """A device, a precision or a package that this machine does not have."""


class InvalidKerasFile(TrainingError):
    """Weights or a configuration that the published code cannot have written."""


class SearchError(TrainingError):
    """A study that cannot be gone on with, or in which no run succeeded."""


class CannotCalibrate(TrainingError):
    """Movies or pairs from which no scale or threshold follows."""


class CannotEvaluate(TrainingError):
    """Pairs or settings on which a figure cannot be taken."""


class CannotAdapt(TrainingError):
    """Movies, a stream or a bundle from which nothing can be learned."""


class NotBetter(TrainingError):
    """An adapted network that its own movies do not confirm."""


class NotInForce(TrainingError):
    """An adapted bundle that a stream or its server does not take any more; it is kept."""


class ServerRefusal(TrainingError):
    """A server that does not answer, or does not do what it is asked.

    Parameters
    ----------
    code : str or None
        The stable code of its answer; None when there was none.
    retryable : bool
        Whether the same may be asked again.
    """

    def __init__(self, message: str, *, code: str | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class PoorModel(TrainingError):
    """A bundle against which something speaks, and `--strict` was given."""


class ParityError(TrainingError):
    """An exported graph that does not compute what torch computes."""
