"""Errors of the training package.

TrainingError ├── InvalidRecipe        a settings file that cannot be used ├── InvalidPairs         images or
a pairs list that cannot be used │   └── NotPhotonCounts  photons must be split, but the data are not photon
counts ├── InvalidPrepared      a folder that `prepare` did not write, or whose files changed ├── Diverged the
loss exceeded its limit or is not a number: the run has failed ├── CheckpointMismatch   a run folder that
belongs to another recipe ├── CannotLoad           a bundle whose weights do not fit the network of a recipe
├── OutOfMemory          not even one patch fits into memory ├── NotAvailable         a device, a precision or
a package that this machine does not have ├── InvalidKerasFile     weights or a configuration that the
published code cannot have written ├── SearchError          a study that cannot be continued, or in which no
run succeeded ├── CannotCalibrate      movies or pairs from which no scale or threshold can be determined ├──
CannotEvaluate pairs or settings with which a metric cannot be calculated ├── CannotAdapt          movies, a
stream or a bundle with which adaptation is impossible ├── NotBetter            an adapted network that is not
better on its own movies ├── NotInForce           an adapted bundle that a stream or its server no longer
accepts ├── ServerRefusal        a server that does not answer, or refuses a request ├── PoorModel a bundle
with warnings although `--strict` was given └── ParityError          an exported graph whose results differ
from those of torch
"""


class TrainingError(Exception):
    """Base class of all errors of the training package."""


class InvalidRecipe(TrainingError):
    """A settings file that cannot be used."""


class InvalidPairs(TrainingError):
    """Images or a pairs list that cannot be used."""


class NotPhotonCounts(InvalidPairs):
    """Photons must be split, but the data are not photon counts."""


class InvalidPrepared(TrainingError):
    """A folder that `prepare` did not write, or whose files changed."""


class Diverged(TrainingError):
    """The loss exceeded its limit or is not a number: the run has failed."""


class CheckpointMismatch(TrainingError):
    """A run folder that belongs to another recipe."""


class CannotLoad(TrainingError):
    """A bundle whose weights do not fit the network of a recipe."""


class OutOfMemory(TrainingError):
    """Not even one patch fits into memory."""


class NotAvailable(TrainingError):
    """A device, a precision or a package that this machine does not have."""


class InvalidKerasFile(TrainingError):
    """Weights or a configuration that the published code cannot have written."""


class SearchError(TrainingError):
    """A study that cannot be continued, or in which no run succeeded."""


class CannotCalibrate(TrainingError):
    """Movies or pairs from which no scale or threshold can be determined."""


class CannotEvaluate(TrainingError):
    """Pairs or settings with which a metric cannot be calculated."""


class CannotAdapt(TrainingError):
    """Movies, a stream or a bundle with which adaptation is impossible."""


class NotBetter(TrainingError):
    """An adapted network that is not better on its own movies."""


class NotInForce(TrainingError):
    """An adapted bundle that a stream or its server no longer accepts; the bundle is kept."""


class ServerRefusal(TrainingError):
    """A server that does not answer, or refuses a request.

    Parameters
    ----------
    code : str or None
        The stable code of its answer; None without an answer.
    retryable : bool
        Whether the request may be repeated.
    """

    def __init__(self, message: str, *, code: str | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class PoorModel(TrainingError):
    """A bundle with warnings although `--strict` was given."""


class ParityError(TrainingError):
    """An exported graph whose results differ from those of torch."""
