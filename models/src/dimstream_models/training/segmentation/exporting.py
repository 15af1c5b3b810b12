"""From the fitted segmentation network to a bundle: ONNX file, example, picture, record."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimstream_models.bundle import (
    Author,
    Bundle,
    BundleDraft,
    Citation,
    ClassOutput,
    DimstreamConfig,
    Provenance,
    ZeroMeanUnitVariance,
    apply_steps,
    read_bundle,
    write_bundle,
)
from dimstream_models.bundle.schema import SSIM_WITHOUT_CONFIG, THRESHOLDS_WITHOUT_CONFIG
from dimstream_models.segmenting.scores import Confusion
from dimstream_models.training.errors import ParityError
from dimstream_models.training.evaluation.restoring import restorer
from dimstream_models.training.export.onnx_export import OnnxRunner, without_traces
from dimstream_models.training.fitting.record import git_state, package_versions
from dimstream_models.training.segmentation.fitting import CURVE, Effort
from dimstream_models.training.segmentation.frame_library import FrameLibrary
from dimstream_models.training.segmentation.labelled_frames import (
    CLASSES,
    denoised_frame,
    exact_classes,
    frame_generator,
)
from dimstream_models.training.segmentation.network import HALO_PX, Classifier, SegmentationNetwork
from dimstream_models.training.simulation.er_labels import er_truth
from dimstream_models.training.simulation.er_scenes import PIXEL_SIZE_NM, Scene

PARITY: Final = 1e-4  # largest difference of a probability between torch and ONNX Runtime
NORMALISATION: Final = ZeroMeanUnitVariance(1e-6)
_OPSET: Final = 17
_EXAMPLE_PX: Final = (128, 144)
_UNET: Final = Citation(
    text="U-Net: Ronneberger, Fischer, Brox, MICCAI 2015, LNCS 9351, 234", doi="10.48550/arXiv.1505.04597"
)


@dataclass(frozen=True, kw_only=True)
class Described:
    """Contents of a bundle in addition to its network.

    Parameters
    ----------
    documentation : str
        Markdown; names of figures in braces are replaced by numbers.
    command : str
        The command line, for the record.
    denoiser : Path
        Bundle with which its frames were denoised.
    """

    effort: Effort
    documentation: str
    command: str
    denoiser: Path
    id: str = "er-segmenter-light"
    name: str = "dimstream ER segmenter light"
    quality: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


def write_segmenter(folder: Path, network: SegmentationNetwork, described: Described, run: Path) -> Bundle:
    """Export a network and write its bundle; an existing one is replaced.

    Raises
    ------
    ParityError
        When the results of ONNX Runtime differ from those of torch.
    BundleError
        When something other than a bundle exists there.
    """
    content = export_classifier(Classifier(network))
    example = _example(described)
    frame = apply_steps((NORMALISATION,), example[None, None])
    shares = OnnxRunner(content)(frame.astype(np.float32))
    denoiser = read_bundle(described.denoiser)
    draft = BundleDraft(
        id=described.id,
        name=described.name,
        description=(
            "A light U-Net, trained on simulated frames, that classifies each pixel of a denoised frame of "
            "the endoplasmic reticulum as background, tubule or sheet."
        ),
        authors=(Author(name="the dimstream developers"),),
        licence="BSD-3-Clause",
        documentation=described.documentation.format_map(
            {name: f"{value:.3f}" for name, value in described.quality.items()}
        ),
        cover=cover_of_labels(example, shares[0].argmax(axis=0), len(CLASSES)),
        onnx=content,
        test_input=example[None, None],
        test_output=shares,
        preprocessing=(NORMALISATION,),
        step=network.step,
        min_side=network.step,
        config=_config(described, denoiser),
        attachments={f"training/{CURVE}": run / CURVE},
        citations=(_UNET,),
        tags=("semantic-segmentation", "fluorescence-light-microscopy", "2d", "endoplasmic-reticulum"),
    )
    return write_bundle(folder, draft, replace=True)


def validation_figures(network: SegmentationNetwork, frames: FrameLibrary) -> dict[str, float]:
    """Return the network's accuracy on validation frames, by name of the figure."""
    total = Confusion.of(np.zeros(0), np.zeros(0))
    with torch.inference_mode():
        for image, labels in zip(frames.images, frames.labels, strict=True):
            found = network(torch.from_numpy(image.astype(np.float32)[None, None])).argmax(dim=1)[0]
            total += Confusion.of(labels, found.numpy())
    background, tubule, sheet = total.overlaps
    return {
        "validation_er_iou": total.er_overlap,
        "validation_background_iou": background,
        "validation_tubule_iou": tubule,
        "validation_sheet_iou": sheet,
        "validation_split_accuracy": total.split_accuracy,
    }


def export_classifier(classifier: Classifier) -> bytes:
    """Return the ONNX file, for any sides divisible by the network's step, after a parity check.

    Raises
    ------
    ParityError
        When ONNX Runtime does not compute what torch computes.
    """
    classifier = classifier.eval().cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    side = 4 * classifier.network.step
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            classifier,
            (torch.zeros(1, 1, side, side),),
            buffer,  # type: ignore[arg-type]
            opset_version=_OPSET,
            input_names=["frame"],
            output_names=["probabilities"],
            dynamic_axes={name: {0: "b", 2: "y", 3: "x"} for name in ("frame", "probabilities")},
            dynamo=False,
        )
    content = without_traces(buffer.getvalue())
    _check_parity(classifier, content)
    return content


def _check_parity(classifier: Classifier, content: bytes) -> None:
    run, rng = OnnxRunner(content), np.random.default_rng(0)
    for steps in ((4, 4), (3, 7), (10, 5)):
        sides = tuple(classifier.network.step * each for each in steps)
        frame = rng.normal(size=(1, 1, *sides)).astype(np.float32)
        with torch.no_grad():
            expected = classifier(torch.from_numpy(frame)).numpy()
        difference = float(np.abs(run(frame) - expected).max())
        if not difference <= PARITY:
            raise ParityError(
                f"expected probabilities of ONNX Runtime within {PARITY:g} of torch, got {difference:g}"
            )


def _example(described: Described) -> NDArray[np.float32]:
    """Return a denoised frame of a scene that was not used for training, (H, W) counts."""
    rng = frame_generator(described.effort.seed, "held back", 0)
    while True:
        scene = Scene.random(rng, _EXAMPLE_PX, "er")
        labels = exact_classes(er_truth(scene).labels)
        if all((labels == place).mean() > 0.05 for place in range(1, len(CLASSES))):
            break
    side = max(_EXAMPLE_PX)
    light = np.zeros((side, side), np.float32)
    light[: _EXAMPLE_PX[0], : _EXAMPLE_PX[1]] = scene.structure()
    restore = restorer(read_bundle(described.denoiser))
    image = denoised_frame(rng, restore, light, dose_ph=1.0, pixel_nm=PIXEL_SIZE_NM)
    return np.ascontiguousarray(image[: _EXAMPLE_PX[0], : _EXAMPLE_PX[1]])


def _config(described: Described, denoiser: Bundle) -> DimstreamConfig:
    commit, _ = git_state()
    settings: dict[str, Any] = asdict(described.effort)
    exporters = {name: version(name) for name in ("onnx", "onnxruntime")}
    return DimstreamConfig(
        ssim=SSIM_WITHOUT_CONFIG,
        thresholds=THRESHOLDS_WITHOUT_CONFIG,
        class_output=ClassOutput(classes=CLASSES, frames="denoised", halo_px=HALO_PX),
        pixel_size_nm=PIXEL_SIZE_NM,
        dose_photons=(0.3, 12.0),
        provenance=Provenance(
            command=described.command,
            seed=described.effort.seed,
            versions={**package_versions(), **exporters},
            git_commit=commit,
            settings=settings,
            data={f"denoiser {denoiser.id}": denoiser.sha256},
        ),
        quality=dict(described.quality),
    )


def cover_of_labels(image: NDArray[np.float32], labels: NDArray[Any], classes: int) -> bytes:
    """Return a PNG: a frame (H, W) of any unit on the left, and its labels (0 to `classes` - 1) on the
    right."""
    figure = Figure(figsize=(6, 3), facecolor="black")
    white = float(np.quantile(image, 0.998))
    frame, found = (figure.add_axes((place / 2, 0, 0.495, 1)) for place in (0, 1))
    frame.imshow(image, cmap="magma", vmin=0, vmax=white)
    found.imshow(labels, cmap="viridis", vmin=0, vmax=classes - 1)
    for axes in (frame, found):
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
