"""What the model's files contain, and the arithmetic that belongs to a model.

`dimstream_models.training` is the offline training package; nothing here imports it.
"""

import os

from dimstream_models.bundle import Bundle, BundleDraft, BundleError, read_bundle, write_bundle

__all__ = ["Bundle", "BundleDraft", "BundleError", "read_bundle", "write_bundle"]

# ONNX Runtime 1.32 and later send usage data to Microsoft unless this is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
