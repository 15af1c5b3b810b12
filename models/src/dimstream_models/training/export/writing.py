"""A trained network becomes a bundle: ONNX, test tensors, cover, model card, records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import edge_pad, rescale
from dimstream_models.bundle import (
    Author,
    Bundle,
    BundleDraft,
    DimstreamConfig,
    InputNormalisation,
    Provenance,
    check_test_tensor,
    write_bundle,
)
from dimstream_models.training.calibration.rescaling import Rescaling
from dimstream_models.training.calibration.threshold import SsimThreshold, ssim_settings
from dimstream_models.training.calibration.windows import WindowThresholds
from dimstream_models.training.export.card import write_card
from dimstream_models.training.export.onnx_export import Denoiser, OnnxRunner, export_onnx
from dimstream_models.training.export.pictures import draw_cover
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.prediction import Denoise, onnx_denoiser
from dimstream_models.training.settings import BundleSettings, CalibrationSettings, NormalisationSettings

MIN_COUNTS, MAX_COUNTS = 0.0, 65535.0
TEST_STEPS = (8, 9)  # sides of the test tensor in steps of the network: not square, so that axes show


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkDraft:
    """A network in torch and all that its bundle is to say."""

    network: UNetRCAN
    normalisation: NormalisationSettings
    bundle: BundleSettings
    example: NDArray[Any]
    """(H, W) photon counts: shown on the cover; its most lit part is the test tensor."""
    rescaling: Rescaling | None = None
    """None: declared absent, predictions are delivered on the network's own scale."""
    threshold: SsimThreshold | None = None
    """None: no frame is judged."""
    windows: WindowThresholds | None = None
    """None: the bundle settings', which are the paper's unless told otherwise."""
    documentation: str | None = None
    """The README, finished; None: a model card is written from the rest."""
    figures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    provenance: Provenance | None = None
    pixel_size_nm: float | None = None
    """Of the training images; what the bundle settings state goes first."""
    dose_photons: tuple[float, float] | None = None
    attachments: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))


def write_network(folder: Path, draft: NetworkDraft) -> Bundle:
    """Export a network and write its bundle, replacing one that lies there.

    Raises
    ------
    ParityError
        When the ONNX file does not compute what torch computes.
    BundleError
        When what the draft says cannot be a bundle.
    """
    onnx = export_onnx(Denoiser(draft.network, build_normaliser(draft.normalisation)))
    bundle = write_bundle(folder, _bundle_draft(draft, onnx), replace=True)
    check_test_tensor(bundle, OnnxRunner(bundle.onnx))
    return bundle


def restore(denoise: Denoise, rescaling: Rescaling | None, counts: NDArray[Any]) -> NDArray[np.float32]:
    """Return denoised counts (H, W) as the bundle delivers them: rescaled and clipped."""
    gain, offset = (1.0, 0.0) if rescaling is None else (rescaling.gain, rescaling.offset)
    return rescale(denoise(counts), gain, offset, MIN_COUNTS, MAX_COUNTS)


def lit_tile(counts: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Return the part of a frame with the most counts, of a size that the network takes, (1, 1, y, x)."""
    padded = edge_pad(counts, step)
    height, width = (min(side, steps * step) for side, steps in zip(padded.shape, TEST_STEPS, strict=True))
    places = [
        (y, x)
        for y in range(0, padded.shape[0] - height + 1, height)
        for x in range(0, padded.shape[1] - width + 1, width)
    ]
    y, x = max(places, key=lambda place: float(padded[place[0] :, place[1] :][:height, :width].sum()))
    return padded[None, None, y : y + height, x : x + width].astype(np.float32)


def _bundle_draft(draft: NetworkDraft, onnx: bytes) -> BundleDraft:
    step, stated, scale = draft.network.step, draft.bundle, draft.rescaling
    denoise = onnx_denoiser(onnx, step=step, min_side=step)
    test_input = lit_tile(draft.example, step)
    gain, offset = (1.0, 0.0) if scale is None else (scale.gain, scale.offset)
    config = _config(draft)
    return BundleDraft(
        id=stated.id,
        name=stated.name,
        description=stated.description,
        authors=tuple(Author(name) for name in stated.authors),
        licence=stated.license,
        documentation=draft.documentation or write_card(stated, config, gain, offset, draft.attachments),
        cover=draw_cover(draft.example, restore(denoise, scale, draft.example)),
        onnx=onnx,
        test_input=test_input,
        test_output=restore(denoise, scale, test_input[0, 0])[None, None],
        config=config,
        step=step,
        min_side=step,
        gain=gain,
        offset=offset,
        clip_min=MIN_COUNTS,
        clip_max=MAX_COUNTS,
        attachments=draft.attachments,
    )


def _config(draft: NetworkDraft) -> DimstreamConfig:
    stated, judged = draft.bundle, draft.threshold
    windows = draft.windows or WindowThresholds(stated.background_max, stated.signal_min)
    return DimstreamConfig(
        ssim=judged.settings if judged else ssim_settings(CalibrationSettings()),
        thresholds=windows.with_ssim(judged.value if judged else None),
        calibration=judged.record if judged else None,
        rescaling=draft.rescaling.record if draft.rescaling else None,
        window_calibration=windows.record,
        input_normalisation=InputNormalisation(
            kind=draft.normalisation.kind, value=draft.normalisation.value
        ),
        pixel_size_nm=stated.pixel_size_nm or draft.pixel_size_nm,
        dose_photons=draft.dose_photons,
        provenance=draft.provenance,
        quality=dict(draft.figures),
    )
