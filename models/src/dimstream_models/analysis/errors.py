"""Errors of the analysis.

AnalysisError ├── InvalidImage      values or a size of which a figure cannot be measured ├── InvalidLabels
a label image whose values have no meaning ├── InvalidMovie      a movie, a recording or its flags that cannot
be read ├── InvalidResults    a folder of results that was not written by this analysis, or with other
settings ├── ServerRefusal     a server that does not answer, or requires a token or a different one ├──
CannotCompare     cells or conditions between which no test can be made └── CannotEncode      a video that
cannot be written
"""


class AnalysisError(Exception):
    """Base class of all errors of the analysis."""


class InvalidImage(AnalysisError):
    """Values or a size of which a figure cannot be measured."""


class InvalidLabels(AnalysisError):
    """A label image whose values have no meaning."""


class InvalidMovie(AnalysisError):
    """A movie, a recording or its flags that cannot be read."""


class InvalidResults(AnalysisError):
    """A folder of results that was not written by this analysis, or with other settings."""


class CannotCompare(AnalysisError):
    """Cells or conditions between which no test can be made."""


class CannotEncode(AnalysisError):
    """A video that cannot be written."""


class ServerRefusal(AnalysisError):
    """A server that does not answer, or requires a token or a different one."""
