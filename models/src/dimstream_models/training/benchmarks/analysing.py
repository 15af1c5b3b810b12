"""Time of the analysis of a frame compared with denoising it, alternating frame by frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.bundle import read_bundle
from dimstream_models.extras import install_hint
from dimstream_models.shipped import shipped_bundle
from dimstream_models.training.benchmarks.plan import SEED, Spread
from dimstream_models.training.errors import NotAvailable
from dimstream_models.training.evaluation.restoring import restorer
from dimstream_models.training.simulation.er_scenes import Scene, expose

DOSE_PH: Final = 1.0
DARK_COUNTS: Final = 0.01
INTERVAL_S: Final = 4.6
"""Frame interval of the paper's movies of seven hours."""


@dataclass(frozen=True)
class AnalysisFigures:
    """Frames per second of both, and their processor time.

    Parameters
    ----------
    denoised_per_s : Spread
        With the shipped bundle and ONNX Runtime's default number of threads.
    analysed_per_s : Spread
        In one process: labels by the classical segmenter, network, pieces, SSIM; `run` uses one process per
        core.
    ratio : Spread
        Time of the analysis divided by that of denoising, within a round.
    analysis_processor_s : Spread
        Processor seconds of an analysis, summed over all threads.
    analysis_s : Spread
        Wall-clock seconds.
    """

    denoised_per_s: Spread
    analysed_per_s: Spread
    ratio: Spread
    analysis_processor_s: Spread
    analysis_s: Spread


def measure_analysis(side_px: int, rounds: int) -> AnalysisFigures:
    """Return the figures of simulated frames of the ER at one photon per pixel on a tubule.

    Raises
    ------
    NotAvailable
        Without the packages of the extra ``analysis``.
    """
    try:
        from dimstream_models.analysis.frame import adjacent_ssim, analyse_frame
        from dimstream_models.analysis.segmentation import ClassicalSegmenter
    except ModuleNotFoundError as error:
        raise NotAvailable(install_hint(error, "dimstream-models")) from error
    restore, segmenter = restorer(read_bundle(shipped_bundle())), ClassicalSegmenter()

    def analyse(image: NDArray[Any], before: NDArray[Any]) -> None:
        analyse_frame(segmenter.segment(image))
        adjacent_ssim(before, image)

    first, second = (restore(frame) for frame in _frames(side_px))
    analyse(second, first)  # calculations that are done only once are not measured
    frame = _frames(side_px)[0]
    denoising, analysing, processor = [], [], []
    for _ in range(rounds):
        denoising.append(_seconds(lambda: restore(frame)))
        start = time.process_time()
        analysing.append(_seconds(lambda: analyse(second, first)))
        processor.append(time.process_time() - start)
    return AnalysisFigures(
        Spread.of([1 / each for each in denoising]),
        Spread.of([1 / each for each in analysing]),
        Spread.of([mine / other for mine, other in zip(analysing, denoising, strict=True)]),
        Spread.of(processor),
        Spread.of(analysing),
    )


def _frames(side_px: int) -> list[NDArray[Any]]:
    rng = np.random.default_rng(SEED)
    scene = Scene.random(rng, (side_px, side_px), "er")
    scenes = (scene.structure(at) for at in (0.0, INTERVAL_S))
    return [expose(each, dose=DOSE_PH, dark_counts=DARK_COUNTS, rng=rng) for each in scenes]


def _seconds(take: Callable[[], object]) -> float:
    start = time.perf_counter()
    take()
    return time.perf_counter() - start
