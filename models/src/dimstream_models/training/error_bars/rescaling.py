"""The error bar of a bundle with a new scale: deviations are multiplied by the change of the gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dimstream_models.bundle import BundleDraft
from dimstream_models.bundle.tensors import from_npy, to_npy


def with_error_bar_rescaled(draft: BundleDraft, factor: float) -> BundleDraft:
    """Return a draft of `open_draft` whose error bar fits a gain that is `factor` times as large.

    Its test output is written again, in the draft's own copy. Figures that were measured in the former counts
    are left out.
    """
    record = draft.config.error_bar
    if record is None:
        return draft
    copy = draft.attachments[record.test_output]
    deviations = from_npy(copy.read_bytes(), where=record.test_output)
    copy.write_bytes(to_npy((deviations * abs(factor)).astype(np.float32)))
    changed = record.model_copy(
        update={
            "photons_per_count": record.photons_per_count / abs(factor),
            "coverage": (),
            "note": "the model's scale has changed since; measure the coverage with `dimstream-train "
            "error-bar-check`",
        }
    )
    return replace(draft, config=draft.config.model_copy(update={"error_bar": changed}))
