"""A bundle of ERnet v2's published weights, made in the user's own clone of it.

ERnet is under GPL-3, so nothing of it is part of dimstream. A separate process in the clone converts network
and weights to an ONNX file (`ernet_in_clone`). This module checks and describes that file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dimstream_models.bundle import (
    Author,
    Bundle,
    BundleDraft,
    Citation,
    ClassOutput,
    Clip,
    DimstreamConfig,
    Provenance,
    ScalePercentiles,
    apply_steps,
    write_bundle,
)
from dimstream_models.bundle.schema import SSIM_WITHOUT_CONFIG, THRESHOLDS_WITHOUT_CONFIG
from dimstream_models.training.errors import CannotLoad, ParityError
from dimstream_models.training.export.onnx_export import OnnxRunner, without_traces
from dimstream_models.training.fitting.record import package_versions
from dimstream_models.training.segmentation import ernet_in_clone
from dimstream_models.training.segmentation.exporting import cover_of_labels
from dimstream_models.training.simulation.er_scenes import Scene

CLASSES: Final = ("background", "sheet_tubule", "tubule", "sheet")
STEP: Final = 2
HALO_PX: Final = 12
PARITY: Final = 1e-4  # largest difference of a probability between torch and ONNX Runtime
PREPROCESSING: Final = (ScalePercentiles(1, 99, 1e-6), Clip(0.0, 1.0))
ARCHITECTURES: Final = (
    "Graphical-App/pyengine/pysrc/swinir_rcab_arch.py",
    "Training/archs/swinir_rcab_arch.py",
)
_CITATION: Final = Citation(
    text="ERnet: Lu, Christensen, Weber, Konno, Laeubli, Scherer, Avezov, Lio, Lapkin, Kaminski Schierle,"
    " Kaminski, Nat Methods 2023, 20, 569",
    doi="10.1038/s41592-023-01815-0",
)
_README: Final = """# ERnet v2

The published weights of ERnet v2, exported in a clone of <https://github.com/charlesnchr/ERnet-v2> (GPL-3) by
`dimstream-train import-ernet`. Its licence is that of ERnet; read it before you share this bundle. Frames are
scaled from their 1st to their 99th percentile to 0 to 1 and clipped; ERnet also rounds to 256 steps, which is
omitted here. Pixels of {pixel_nm:g} nm, as stated at the import.

## Validation

ONNX Runtime gives torch's probabilities within {parity:g}. Its accuracy was not measured here.
"""


@dataclass(frozen=True, kw_only=True)
class Clone:
    """The user's clone of ERnet v2.

    Parameters
    ----------
    folder, weights : Path
        Folder of the repository, and the released checkpoint.
    python : str
        Interpreter with torch and ERnet's requirements.
    """

    folder: Path
    weights: Path
    python: str = sys.executable


def import_ernet(clone: Clone, target: Path, *, pixel_nm: float, command: str) -> Bundle:
    """Write the bundle; an existing one is replaced.

    Parameters
    ----------
    pixel_nm : float
        Pixel size to which frames are resampled before the network.

    Raises
    ------
    CannotLoad
        When the clone or the weights are not ERnet v2's.
    ParityError
        When the results of ONNX Runtime differ from those of torch.
    BundleError
        When something other than a bundle exists at the target.
    """
    with tempfile.TemporaryDirectory() as scratch:
        content = _exported(clone, Path(scratch))
    run = OnnxRunner(content)
    example = _example()
    shares = run(apply_steps(PREPROCESSING, example[None, None]).astype(np.float32))
    draft = BundleDraft(
        id="ernet-v2",
        name="ERnet v2",
        description="ERnet v2's published weights: background, tubule, sheet and tubule on a sheet.",
        authors=(Author(name="the authors of ERnet"),),
        licence=None,
        documentation=_README.format(pixel_nm=pixel_nm, parity=PARITY),
        cover=cover_of_labels(example, shares[0].argmax(axis=0), len(CLASSES)),
        onnx=content,
        test_input=example[None, None],
        test_output=shares,
        preprocessing=PREPROCESSING,
        step=STEP,
        min_side=8,
        config=DimstreamConfig(
            ssim=SSIM_WITHOUT_CONFIG,
            thresholds=THRESHOLDS_WITHOUT_CONFIG,
            class_output=ClassOutput(classes=CLASSES, frames="either", halo_px=HALO_PX),
            pixel_size_nm=pixel_nm,
            provenance=Provenance(
                command=command, seed=0, versions=package_versions(), git_commit=None, settings={}
            ),
        ),
        citations=(_CITATION,),
        tags=("semantic-segmentation", "fluorescence-light-microscopy", "2d", "endoplasmic-reticulum"),
    )
    return write_bundle(target, draft, replace=True)


def _exported(clone: Clone, scratch: Path) -> bytes:
    """Return the ONNX file from a process in the clone, after a parity check."""
    places = [clone.folder / each for each in ARCHITECTURES]
    arch = next((place for place in places if place.is_file()), None)
    if arch is None:
        raise CannotLoad(
            f"{clone.folder}: expected a clone of ERnet v2 with {' or '.join(ARCHITECTURES)}, got neither:"
            " clone https://github.com/charlesnchr/ERnet-v2 and give its folder"
        )
    files = (Path(ernet_in_clone.__file__), arch, clone.weights, scratch / "network.onnx", scratch)
    words = [clone.python, *(str(each.absolute()) for each in files)]
    done = subprocess.run(words, cwd=clone.folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise CannotLoad(
            f"expected ERnet v2 to load and export in {clone.folder} with {clone.python}, got: {said}"
        )
    content = without_traces((scratch / "network.onnx").read_bytes())
    frame, shares = (np.load(scratch / name, allow_pickle=False) for name in ("frame.npy", "shares.npy"))
    difference = float(np.abs(OnnxRunner(content)(frame) - shares).max())
    if not difference <= PARITY:
        raise ParityError(
            f"expected probabilities of ONNX Runtime within {PARITY:g} of torch, got {difference:g}"
        )
    return content


def _example() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return a noise-free simulated frame, (H, W)."""
    scene = Scene.random(np.random.default_rng(8), (96, 128), "er")
    return 100 * scene.structure()
