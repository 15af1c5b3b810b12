"""Errors of the model bundle.

::

    BundleError
    ├── BundleNotFound        no folder or zip with a description there
    ├── BundleExists          asked to write where something else lies
    ├── InvalidBundle         the description or a file breaks the format; says which field
    ├── UnknownFormatVersion  BioImage.IO or config.dimstream of a version that is not known here
    ├── UnknownProcessing     a pre- or postprocessing step that is not known here; has its name
    ├── UnsupportedModel      a valid BioImage.IO model, but no image-to-image ONNX model of one channel
    ├── MissingFile           a file that the description names is not there
    ├── ChangedFile           a file's sha256 is not the one that the description states
    ├── UnsafePath            a path that leaves the bundle
    ├── TooLarge              a file over the size limit
    ├── NotOnnx               the weights are no ONNX model
    ├── ExternalData          the ONNX model keeps weights in another file
    └── TestTensorMismatch    the model does not reproduce its test output

Each class has a `code` that stays the same when its message changes.
"""

from typing import ClassVar


class BundleError(Exception):
    """Base class of all errors of a bundle."""

    code: ClassVar[str] = "bundle_error"


class BundleNotFound(BundleError):
    """There is no bundle at this path."""

    code = "bundle_not_found"


class BundleExists(BundleError):
    """Something exists there already and may not be replaced."""

    code = "bundle_exists"


class InvalidBundle(BundleError):
    """The description, or a file that it names, does not follow the format."""

    code = "invalid_bundle"


class UnknownFormatVersion(BundleError):
    """The version of the description's format is unknown."""

    code = "unknown_format_version"


class UnknownProcessing(BundleError):
    """The description contains an unknown processing step.

    Parameters
    ----------
    name
        The step's id, as the description has it.
    where
        The field that names it.
    detail
        Which setting of the step is unknown, when its id is known.
    """

    code = "unknown_processing"

    def __init__(self, name: str, *, where: str, known: tuple[str, ...], detail: str = "") -> None:
        what = f"processing step {name!r}" + (f" with {detail}" if detail else "")
        super().__init__(
            f"{where}: {what} is unknown, so the model's pixels would be wrong; expected one of "
            f"{', '.join(known)}"
        )
        self.name = name


class UnsupportedModel(BundleError):
    """A valid BioImage.IO model of a kind that dimstream cannot serve."""

    code = "unsupported_model"


class MissingFile(BundleError):
    """The description names a file that is not in the bundle."""

    code = "missing_file"


class ChangedFile(BundleError):
    """A file's hash is not the one that the description states."""

    code = "changed_file"


class UnsafePath(BundleError):
    """A path leads out of the bundle, or would on another operating system."""

    code = "unsafe_path"


class TooLarge(BundleError):
    """A file is larger than the limit for files of a bundle."""

    code = "too_large"


class NotOnnx(BundleError):
    """The weights file does not hold an ONNX model."""

    code = "not_onnx"


class ExternalData(BundleError):
    """The ONNX model keeps tensors outside its own file."""

    code = "external_data"


class TestTensorMismatch(BundleError):
    """The model's output for the test input is not the test output."""

    __test__ = False  # because of its name, pytest would take it for a test
    code = "test_tensor_mismatch"
