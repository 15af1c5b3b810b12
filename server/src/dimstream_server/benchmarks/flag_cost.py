"""What the flags cost: the model alone, with the usual flags, and with the split-photon check as well.

All three run in this process, in turns, in sessions opened by the server's own code; the last two are the
engine's own answer to a frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import numpy as np

from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.benchmarks.interleaved import Spread
from dimstream_server.benchmarks.plan import SEED, SHAPE
from dimstream_server.benchmarks.routes import Counts
from dimstream_server.engine.frame_denoising import answer
from dimstream_server.engine.loading import LoadedModel, Loader, ModelKey, model_info
from dimstream_server.engine.protocol import FrameTask, InForce, StreamSpec
from dimstream_server.engine.raw_frame_thread import RawFrameThread
from dimstream_server.engine.stream_state import Job, StreamState
from dimstream_server.pipeline.comparison import Graph
from dimstream_server.pipeline.device_name import parse_device
from dimstream_server.pipeline.fused_graph import compose_prediction

DRIFT_PX: Final = 3
"""Of the sample, from frame to frame: so that SSIM is taken a second time, after alignment."""
SMOOTHING: Final = 9
"""Passes of a three-pixel mean that make structure of noise."""
PHOTONS: Final = 2.0

Run = Callable[[Counts], object]


@dataclass(frozen=True, slots=True)
class FlagFigures:
    """Milliseconds a frame, and their ratios within a round.

    Parameters
    ----------
    model_ms : Spread
        The network with its casts, padding and the normalisation of its prediction; no flag.
    default_ratio : Spread
        Time with the flags that every frame gets, by `model_ms` of the same round.
    split_ratio : Spread
        Time that the split-photon check takes on top of that, by two `model_ms` of the same round.
    """

    model_ms: Spread
    default_ms: Spread
    split_ms: Spread
    default_ratio: Spread
    split_ratio: Spread


def measure_flags(
    bundle: Bundle, rounds: int, frames: int, device: str, on_frames: Callable[[int], object]
) -> FlagFigures:
    """Time the three in turns, `rounds` laps of `frames` frames each.

    Raises
    ------
    BenchmarkError, dimstream_server.errors.StartError
    """
    beside = RawFrameThread()
    runs = {
        "model": _model_alone(bundle, device),
        "default": _engine(bundle, device, beside, split_every=0),
        "split": _engine(bundle, device, beside, split_every=1),
    }
    shown = list(_drifting(frames))
    laps: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run(shown[0])  # wakes threads and caches
            laps[name].append(_lap_ms(run, shown))
            on_frames(len(shown))
    beside.stop()
    model, default, split = (np.asarray(laps[name]) for name in ("model", "default", "split"))
    return FlagFigures(
        model_ms=Spread.of(model),
        default_ms=Spread.of(default),
        split_ms=Spread.of(split),
        default_ratio=Spread.of(default / model),
        split_ratio=Spread.of((split - default) / (2 * model)),
    )


def _lap_ms(run: Run, frames: list[Counts]) -> float:
    """Median time of a frame."""
    times = []
    for frame in frames:
        started = time.perf_counter()
        run(frame)
        times.append((time.perf_counter() - started) * 1e3)
    return float(np.median(times))


def _model_alone(bundle: Bundle, device: str) -> Run:
    model = compose_prediction(bundle, "uint16")
    graph = Graph(model, parse_device(device), name=bundle.id, threads=None)
    return lambda frame: graph.run({"frame": frame}, ("normalised",))


def _engine(bundle: Bundle, device: str, beside: RawFrameThread, *, split_every: int) -> Run:
    key = ModelKey(bundle.id, "uint16", "uint16", split_check=split_every > 0)
    loader = Loader([bundle], parse_device(device), threads=None)
    model: LoadedModel = loader.load(key)
    loader.stop()
    info = model_info(bundle)
    spec = StreamSpec(bundle.id, SHAPE, "uint16", split_every=split_every)
    state, numbers = StreamState("bench", spec, InForce(0, info, info.thresholds)), count()

    def run(frame: Counts) -> None:
        seq = next(numbers)
        job = Job(FrameTask(seq, frame, seq), time.perf_counter(), Future())
        result = answer(state, job, model, beside, lambda _: None, device=device)
        split = None if result.quality is None else result.quality.split
        if result.error or (split_every and (split is None or split.refused)):
            raise BenchmarkError(f"the engine failed on a frame: {result.error or split}")

    return run


def _drifting(frames: int) -> Iterator[Counts]:
    """Photon counts (H, W) uint16 of smooth structure that drifts, forth and back."""
    reach = DRIFT_PX * frames
    field: Any = np.random.default_rng(SEED).normal(size=(SHAPE[0], SHAPE[1] + reach))
    for _ in range(SMOOTHING):
        field = sum(np.roll(field, step, axis) for axis in (0, 1) for step in (-1, 0, 1)) / 6
    light = PHOTONS * np.clip(field / field.std(), 0, None)
    for number in range(frames):
        start = DRIFT_PX * number
        seen = light[:, start : start + SHAPE[1]]
        yield np.random.default_rng((SEED, number)).poisson(seen).astype(np.uint16)
