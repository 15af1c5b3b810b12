"""Means over rectangles of pixels: the traces of regions that a viewer follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_server.endpoints.http.live.messages import Roi
from dimstream_server.endpoints.http.live.shown_frame import ShownFrame


def traces(frames: Sequence[ShownFrame], rois: Sequence[Roi]) -> dict[str, NDArray[Any]]:
    """Means of each region in each frame.

    Returns
    -------
    dict
        `seq` (N,) float64; `raw` and `denoised` (N, R) float32, NaN where there is nothing.
    """
    found = {
        kind: np.array([[_mean(frame.images.get(kind), roi) for roi in rois] for frame in frames], "f4")
        for kind in ("raw", "denoised")
    }
    return {"seq": np.array([frame.seq for frame in frames], "f8"), **found}


def _mean(image: NDArray[Any] | None, roi: Roi) -> float:
    if image is None:
        return np.nan
    region = image[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    return float(region.mean(dtype=np.float64)) if region.size else np.nan
