"""Adds an error bar to a bundle: a second network, its test output and its record; the weights are
unchanged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dimstream_models.arithmetic import edge_pad
from dimstream_models.bundle import (
    Bundle,
    BundleDraft,
    ErrorBarRecord,
    check_target,
    open_draft,
    pack_bundle,
    read_bundle,
    scale_factor,
    write_bundle,
)
from dimstream_models.bundle.tensors import to_npy
from dimstream_models.training.error_bars.card_section import with_error_bar_section
from dimstream_models.training.error_bars.coverage import Coverage, Row, as_record
from dimstream_models.training.error_bars.fitting import Effort, fit_error_bars
from dimstream_models.training.error_bars.movie_fitting import fit_to_movies
from dimstream_models.training.error_bars.network import STEP, ErrorBarNetwork, export_error_bar
from dimstream_models.training.error_bars.recalibrating import recalibrate_error_bars
from dimstream_models.training.error_bars.samples import Judged, our_world
from dimstream_models.training.pairs.images import ImageFile

SOURCE: Final = "error_bar.onnx"
TEST_OUTPUT: Final = "error_bar_test.npy"
SIDE_PX: Final = 160  # side of frames for the fit
CHECK_SIDE_PX: Final = 256  # side of frames for the check

Deviation = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""From raw counts and the network's output, each (H, W), to standard deviations in denoised counts, (H,
W)."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How an error bar is fitted.

    Parameters
    ----------
    frames, recalibrated, held_back : int
        Numbers of simulated frames for the fit, of others for the final factors, and of others for the check.
    movies : tuple of Path
        Recorded movies of photon counts for the fit, instead of simulated frames.
    """

    seed: int = 0
    frames: int = 500
    recalibrated: int = 200
    held_back: int = 120
    effort: Effort = field(default_factory=Effort)
    movies: tuple[Path, ...] = ()


def add_error_bar(source: Path, target: Path, wanted: Wanted) -> tuple[Bundle, Sequence[Row]]:
    """Write a bundle with an error bar; return it, and its coverage on held-out frames.

    Parameters
    ----------
    source : Path
        Folder or zip of a bundle that dimstream wrote; an existing error bar is replaced.
    target : Path
        Folder or zip; may be the source.

    Raises
    ------
    BundleError
        When the source cannot be read, or the target may not be replaced.
    CannotEvaluate, CannotCalibrate
        When the network needs other axes than (1, 1, y, x), or its output does not depend on light.
    InvalidPairs, NotPhotonCounts
        When a movie cannot be used.
    """
    bundle = read_bundle(source)
    if target != source:
        check_target(target, replace=False)
    judged = Judged.of(bundle)
    network, judged = _fitted(judged, wanted)
    content = export_error_bar(network)
    rows = [] if wanted.movies else _held_back(judged, deviation_of(content, bundle), wanted)
    record = _record(judged, wanted).model_copy(update={"coverage": as_record(rows)})
    return _written(source, target, content, record), rows


def deviation_of(content: bytes, bundle: Bundle) -> Deviation:
    """Return an error-bar network as a function of frames of any size, as the server runs it."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    factor = np.float32(scale_factor(bundle.postprocessing))

    def run(counts: NDArray[np.float32], prediction: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = counts.shape
        padded = [edge_pad(image, STEP)[None, None].astype(np.float32) for image in (counts, prediction)]
        names = [each.name for each in session.get_inputs()]
        found = np.asarray(session.run(None, dict(zip(names, padded, strict=True)))[0], np.float32)
        return factor * found[0, 0, :height, :width]

    return run


def _fitted(judged: Judged, wanted: Wanted) -> tuple[ErrorBarNetwork, Judged]:
    if wanted.movies:
        return fit_to_movies(judged, wanted.movies, seed=wanted.seed, effort=wanted.effort)
    gain = scale_factor(judged.bundle.postprocessing)
    samples = judged.samples(
        our_world, seed=wanted.seed, purpose="error bars", number=wanted.frames, side_px=SIDE_PX
    )
    network = fit_error_bars(
        list(samples),
        gain=gain,
        scale=gain / judged.counts_per_photon,
        offset=(judged.bundle.offset or 0.0) / judged.counts_per_photon,
        seed=wanted.seed,
        effort=wanted.effort,
    )
    others = judged.samples(
        our_world, seed=wanted.seed + 1, purpose="error bars", number=wanted.recalibrated, side_px=SIDE_PX
    )
    recalibrate_error_bars(network.eval(), others, gain=gain)
    return network, judged


def _record(judged: Judged, wanted: Wanted) -> ErrorBarRecord:
    if wanted.movies:
        files = ", ".join(f"{path.name} (sha256 {ImageFile(path).sha256()[:16]})" for path in wanted.movies)
        method = f"mean squared error by photons set aside of {files}, {wanted.effort.steps} steps"
        note = "one standard deviation is the root mean square error; it was not compared with any truth"
    else:
        method = (
            f"quantiles of the distance from the truth on {wanted.frames} simulated frames of {SIDE_PX} px,"
            f" {wanted.effort.steps} steps; factors on {wanted.recalibrated} frames of another seed"
        )
        note = f"coverage on {wanted.held_back} other frames of {CHECK_SIDE_PX} px"
    return ErrorBarRecord(
        source=SOURCE,
        test_output=TEST_OUTPUT,
        step=STEP,
        method=method,
        photons_per_count=1 / judged.counts_per_photon,
        seed=wanted.seed,
        note=note,
    )


def _held_back(judged: Judged, deviation: Deviation, wanted: Wanted) -> list[Row]:
    coverage = Coverage()
    for sample in judged.samples(
        our_world,
        seed=wanted.seed,
        purpose="error bars held back",
        number=wanted.held_back,
        side_px=CHECK_SIDE_PX,
    ):
        coverage.add(sample, deviation(sample.exposed.counts, sample.prediction))
    return coverage.rows()


def _written(source: Path, target: Path, content: bytes, record: ErrorBarRecord) -> Bundle:
    with open_draft(source) as draft, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = with_error_bar(draft, read_bundle(source), content, record, folder)
        if target.suffix.lower() != ".zip":
            return write_bundle(target, made, replace=True)
        return pack_bundle(write_bundle(folder / made.id, made).source, target)


def with_error_bar(
    draft: BundleDraft, bundle: Bundle, content: bytes, record: ErrorBarRecord, folder: Path
) -> BundleDraft:
    """Return the draft with an error-bar network; its files are written to `folder`."""
    network = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    name = network.get_inputs()[0].name
    prediction = np.asarray(network.run(None, {name: bundle.test_input.astype(np.float32)})[0])
    counts = bundle.test_input[0, 0].astype(np.float32)
    test_output = deviation_of(content, bundle)(counts, prediction[0, 0])[None, None]
    (folder / SOURCE).write_bytes(content)
    (folder / TEST_OUTPUT).write_bytes(to_npy(test_output))
    files = {name: folder / name for name in (SOURCE, TEST_OUTPUT)}
    return replace(
        draft,
        attachments={**draft.attachments, **files},
        config=draft.config.model_copy(update={"error_bar": record}),
        documentation=with_error_bar_section(draft.documentation, record),
    )
