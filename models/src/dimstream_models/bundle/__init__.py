"""The model bundle: a valid BioImage.IO 0.5 model, read, written, verified and refused here.

`docs/bundle.md` is the authority on the format.
"""

from dimstream_models.bundle.draft_of_bundle import open_draft
from dimstream_models.bundle.errors import (
    BundleError,
    BundleExists,
    BundleNotFound,
    ChangedFile,
    ExternalData,
    InvalidBundle,
    MissingFile,
    NotOnnx,
    TestTensorMismatch,
    TooLarge,
    UnknownFormatVersion,
    UnknownProcessing,
    UnsafePath,
    UnsupportedModel,
)
from dimstream_models.bundle.model import UNET_RCAN, Author, Bundle, BundleDraft, Citation
from dimstream_models.bundle.processing import (
    Clip,
    EnsureDtype,
    FixedZeroMeanUnitVariance,
    ScaleLinear,
    Step,
    ZeroMeanUnitVariance,
    apply_steps,
)
from dimstream_models.bundle.reading import read_attachment, read_bundle
from dimstream_models.bundle.schema import (
    FORMAT_VERSION,
    Calibration,
    DimstreamConfig,
    InputNormalisation,
    Provenance,
    RescalingRecord,
    ScoreCalibration,
    SsimSettings,
    Thresholds,
    WindowCalibration,
)
from dimstream_models.bundle.tensors import check_test_output, check_test_tensor
from dimstream_models.bundle.writing import check_target, pack_bundle, write_bundle

__all__ = [
    "FORMAT_VERSION",
    "UNET_RCAN",
    "Author",
    "Bundle",
    "BundleDraft",
    "BundleError",
    "BundleExists",
    "BundleNotFound",
    "Calibration",
    "ChangedFile",
    "Citation",
    "Clip",
    "DimstreamConfig",
    "EnsureDtype",
    "ExternalData",
    "FixedZeroMeanUnitVariance",
    "InputNormalisation",
    "InvalidBundle",
    "MissingFile",
    "NotOnnx",
    "Provenance",
    "RescalingRecord",
    "ScaleLinear",
    "ScoreCalibration",
    "SsimSettings",
    "Step",
    "TestTensorMismatch",
    "Thresholds",
    "TooLarge",
    "UnknownFormatVersion",
    "UnknownProcessing",
    "UnsafePath",
    "UnsupportedModel",
    "WindowCalibration",
    "ZeroMeanUnitVariance",
    "apply_steps",
    "check_target",
    "check_test_output",
    "check_test_tensor",
    "open_draft",
    "pack_bundle",
    "read_attachment",
    "read_bundle",
    "write_bundle",
]
