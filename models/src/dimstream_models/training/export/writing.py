"""From a trained network to a bundle: ONNX, test tensors, cover, model card, records."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    SsimSettings,
    check_test_tensor,
    write_bundle,
)
from dimstream_models.training.calibration.rescaling import Rescaling
from dimstream_models.training.calibration.threshold import FlagThresholds, ssim_settings
from dimstream_models.training.calibration.windows import WindowThresholds
from dimstream_models.training.export.card import HALF_ERROR, half_section, with_warnings, write_card
from dimstream_models.training.export.onnx_export import (
    HALF_LIMIT,
    Denoiser,
    OnnxRunner,
    export_onnx,
    half_error,
    half_precision,
)
from dimstream_models.training.export.pictures import draw_cover
from dimstream_models.training.export.warnings import refuse
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.prediction import Denoise, onnx_denoiser
from dimstream_models.training.settings import BundleSettings, CalibrationSettings, NormalisationSettings

MIN_COUNTS, MAX_COUNTS = 0.0, 65535.0
TEST_STEPS = (
    8,
    9,
)  # sides of the test tensor in steps of the network: not square, so that swapped axes are found


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkDraft:
    """A network in torch, and the contents of its bundle."""

    network: UNetRCAN
    normalisation: NormalisationSettings
    bundle: BundleSettings
    example: NDArray[Any]
    """(H, W) photon counts: the cover's image; its brightest part is the test tensor."""
    rescaling: Rescaling | None = None
    """None: no scale; predictions are delivered on the network's own scale."""
    threshold: FlagThresholds | None = None
    """None: no frame is judged."""
    ssim: SsimSettings | None = None
    """How SSIM is calculated if there is no threshold; None: the default of calibrations."""
    windows: WindowThresholds | None = None
    """None: those of the bundle settings, whose default is the paper's."""
    documentation: str | None = None
    """The finished README; None: a model card is written."""
    figures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    provenance: Provenance | None = None
    pixel_size_nm: float | None = None
    """Pixel size of the training images; the bundle settings take precedence."""
    dose_photons: tuple[float, float] | None = None
    attachments: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))


def write_network(folder: Path, draft: NetworkDraft, *, strict: bool = False) -> Bundle:
    """Export a network and write its bundle; an existing one is replaced.

    Parameters
    ----------
    strict : bool
        Refuse a bundle with warnings.

    Raises
    ------
    PoorModel
        When there are warnings and `strict` is set.
    ParityError
        When the results of the ONNX file differ from those of torch.
    BundleError
        When the draft is not a valid bundle.
    """
    made = _bundle_draft(draft)
    if strict:
        refuse(made)
    return write_checked(folder, made)


def write_half(folder: Path, draft: NetworkDraft) -> Bundle:
    """Write a network's bundle in half precision, for GPUs; its id ends in ``-float16``.

    Its test output is that of the float32 network, with a tolerance for float16.

    Raises
    ------
    ParityError
        When half precision changes predictions by more than 0.5 % of the largest.
    BundleError
        As `write_network`.
    """
    full = _bundle_draft(draft)
    half = half_precision(full.onnx)
    denoiser = Denoiser(draft.network, build_normaliser(draft.normalisation))
    error = half_error(denoiser, half, (full.test_input, _padded(draft.example, full.step)))
    quality = {**full.config.quality, HALF_ERROR: float(f"{error:.3g}")}
    marked = replace(
        full,
        id=f"{full.id}-float16",
        name=f"{full.name} (float16)",
        onnx=half,
        absolute_tolerance=HALF_LIMIT * float(full.test_output.max()),
        config=full.config.model_copy(update={"quality": quality, "precisions": {}}),
    )
    own = draft.documentation is not None
    documentation = f"{full.documentation}\n{half_section(quality)}\n" if own else write_card(marked)
    return write_checked(folder, replace(marked, documentation=documentation))


def write_checked(folder: Path, draft: BundleDraft) -> Bundle:
    """Write a bundle, and check that it reproduces its test output; an existing one is replaced.

    Raises
    ------
    BundleError
        When the draft does not follow the format, or the network does not reproduce the test output.
    """
    with tempfile.TemporaryDirectory() as scratch:
        tried = write_bundle(Path(scratch) / draft.id, draft)
        check_test_tensor(tried, OnnxRunner(tried.onnx))
    return write_bundle(folder, draft, replace=True)


def restore(denoise: Denoise, rescaling: Rescaling | None, counts: NDArray[Any]) -> NDArray[np.float32]:
    """Return denoised counts (H, W) as the bundle delivers them: rescaled and clipped."""
    gain, offset = (1.0, 0.0) if rescaling is None else (rescaling.gain, rescaling.offset)
    return rescale(denoise(counts), gain, offset, MIN_COUNTS, MAX_COUNTS)


def lit_tile(counts: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Return the part of a frame with the most counts, (1, 1, y, x), with a size that the network accepts."""
    padded = _padded(counts, step)
    rows, columns = padded.shape[2:]
    height, width = min(rows, TEST_STEPS[0] * step), min(columns, TEST_STEPS[1] * step)
    tiles = (
        padded[..., y : y + height, x : x + width]
        for y in range(0, rows - height + 1, height)
        for x in range(0, columns - width + 1, width)
    )
    return max(tiles, key=lambda tile: float(tile.sum()))


def _padded(counts: NDArray[Any], step: int) -> NDArray[np.float32]:  # (1, 1, y, x)
    return np.asarray(edge_pad(counts, step)[None, None], dtype=np.float32)


def _bundle_draft(draft: NetworkDraft) -> BundleDraft:
    onnx = export_onnx(Denoiser(draft.network, build_normaliser(draft.normalisation)))
    step, stated, scale = draft.network.step, draft.bundle, draft.rescaling
    denoise = onnx_denoiser(onnx, step=step, min_side=step)
    test_input = lit_tile(draft.example, step)
    gain, offset = (1.0, 0.0) if scale is None else (scale.gain, scale.offset)
    bundle = BundleDraft(
        id=stated.id,
        name=stated.name,
        description=stated.description,
        authors=tuple(Author(name) for name in stated.authors),
        licence=stated.license,
        documentation=draft.documentation or "",
        cover=draw_cover(draft.example, restore(denoise, scale, draft.example)),
        onnx=onnx,
        test_input=test_input,
        test_output=restore(denoise, scale, test_input[0, 0])[None, None],
        config=_config(draft),
        step=step,
        min_side=step,
        gain=gain,
        offset=offset,
        clip_min=MIN_COUNTS,
        clip_max=MAX_COUNTS,
        attachments=draft.attachments,
    )
    own = draft.documentation
    return replace(bundle, documentation=with_warnings(own, bundle) if own else write_card(bundle))


def _config(draft: NetworkDraft) -> DimstreamConfig:
    stated, judged = draft.bundle, draft.threshold
    windows = draft.windows or WindowThresholds(stated.background_max, stated.signal_min)
    thresholds = windows.over(None)
    judging = {} if judged is None else judged.records()
    return DimstreamConfig(
        ssim=judged.settings
        if judged
        else draft.ssim or ssim_settings(CalibrationSettings().ssim_data_range),
        thresholds=thresholds if judged is None else judged.over(thresholds),
        **judging,
        rescaling=draft.rescaling.record if draft.rescaling else None,
        window_calibration=windows.record,
        input_normalisation=InputNormalisation(
            kind=draft.normalisation.kind, value=draft.normalisation.value
        ),
        pixel_size_nm=stated.pixel_size_nm or draft.pixel_size_nm,
        pixel_sizes_nm=stated.pixel_sizes_nm,
        dose_photons=draft.dose_photons,
        provenance=draft.provenance,
        quality=dict(draft.figures),
    )
