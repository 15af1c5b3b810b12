"""What crosses the disk: the model bundle, and the arithmetic that belongs to a model.

`dimstream_models.training` is the offline training package; nothing here imports it.
"""

from dimstream_models.bundle import Bundle, BundleDraft, BundleError, read_bundle, write_bundle

__all__ = ["Bundle", "BundleDraft", "BundleError", "read_bundle", "write_bundle"]
