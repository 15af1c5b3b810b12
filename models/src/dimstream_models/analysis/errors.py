"""Errors of the analysis.

AnalysisError
├── InvalidImage      values or a size on which a figure cannot be taken
├── InvalidLabels     a label image whose values have no meaning
├── InvalidMovie      a movie, a recording or its flags that cannot be read
├── InvalidResults    a folder of results that was not written by this analysis, or with other settings
├── ServerRefusal     a server that does not answer, or wants a token, or another one
├── CannotCompare     cells or conditions between which no test can be made
└── CannotEncode      a video that cannot be written
"""


class AnalysisError(Exception):
    """Base of everything that the analysis refuses."""


class InvalidImage(AnalysisError):
    """Values or a size on which a figure cannot be taken."""


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
    """A server that does not answer, or wants a token, or another one."""
