"""One frame on each device that this machine has, in turns, and how much of its arithmetic that uses.

All run in this process, by the server's own code; the first device is the server's default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks.arithmetic import gflop_of, matrix_product
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.benchmarks.interleaved import Spread
from dimstream_server.benchmarks.plan import MEAN_COUNTS, SEED, DevicePlan
from dimstream_server.errors import DeviceUnavailable
from dimstream_server.pipeline.device_name import parse_device
from dimstream_server.pipeline.device_probe import is_emulated, probe
from dimstream_server.pipeline.fused_model import FusedModel
from dimstream_server.pipeline.thresholds import thresholds_of

DEFAULT: Final = "cpu"
ALWAYS: Final = (DEFAULT, "openvino:cpu", "openvino:cpu@bf16")
ON_CUDA: Final = ("cuda:0", "cuda:0@tf32")


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """What was measured of one device.

    Parameters
    ----------
    frame_ms : Spread
        The fused graph, from counts to counts.
    speed : Spread
        Time of the default device by that of this one, in the same round.
    peak_gflop_per_s : Spread
        A product of large matrices by the same runtime, in the same precision and round, 1e9 flop/s.
    share_of_peak : Spread or None
        Arithmetic of the network's convolutions by the time of the whole graph, as a share of that; None
        where it cannot be counted.
    emulated : bool
        Whether the processor lacks the precision.
    """

    frame_ms: Spread
    speed: Spread
    peak_gflop_per_s: Spread
    share_of_peak: Spread | None
    emulated: bool


@dataclass(frozen=True, slots=True)
class DevicesFigures:
    """All devices of a machine.

    Parameters
    ----------
    left_out : dict
        Devices that it has not, and why.
    gflop : float or None
        Of the network, for a frame; None where it cannot be counted.
    """

    devices: dict[str, DeviceFigures]
    left_out: dict[str, str]
    gflop: float | None


@dataclass(frozen=True, slots=True)
class _Contender:
    run: Callable[[Any], object]
    peak: Callable[[], float]
    emulated: bool


def measure_devices(
    bundle: Bundle, plan: DevicePlan, named: str, on_frames: Callable[[int], object]
) -> DevicesFigures:
    """Time all devices in turns.

    Parameters
    ----------
    named : str
        A device that is measured, too.

    Raises
    ------
    dimstream_server.errors.ServerError
    """
    contenders, left_out = _contenders(bundle, dict.fromkeys((*ALWAYS, named, *ON_CUDA)), plan)
    rng = np.random.default_rng(SEED)
    frames = list(rng.poisson(MEAN_COUNTS, (plan.lap_frames, *plan.shape)).astype(np.uint16))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    peaks: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(plan.rounds):
        for name, one in contenders.items():
            times[name].append(_lap_ms(one.run, frames))
            peaks[name].append(max(one.peak() for _ in range(plan.products)))
            on_frames(plan.lap_frames)
    gflop = _gflop(bundle, plan.shape)
    return DevicesFigures(
        {
            name: _figures(times[name], times[DEFAULT], peaks[name], gflop, emulated=one.emulated)
            for name, one in contenders.items()
        },
        left_out,
        gflop,
    )


def _contenders(
    bundle: Bundle, names: Sequence[str] | dict[str, None], plan: DevicePlan
) -> tuple[dict[str, _Contender], dict[str, str]]:
    found: dict[str, _Contender] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            found[name] = _contender(bundle, name, plan)
        except DeviceUnavailable as error:
            left_out[name] = str(error)
    return found, left_out


def _contender(bundle: Bundle, name: str, plan: DevicePlan) -> _Contender:
    device = parse_device(name)
    probe(device)
    model = FusedModel(bundle, device=device, in_dtype="uint16", out_dtype="uint16")
    thresholds = thresholds_of(bundle)
    model.run(np.ones(plan.shape, np.uint16), None, thresholds)  # compiles it for the shape
    return _Contender(
        lambda frame: model.run(frame, None, thresholds),
        matrix_product(device, plan.matrix_side),
        is_emulated(device),
    )


def _gflop(bundle: Bundle, shape: tuple[int, int]) -> float | None:
    height, width = (-(-max(side, bundle.min_side) // bundle.step) * bundle.step for side in shape)
    sides = {"y": height, "x": width}
    try:
        return gflop_of(bundle.onnx, tuple(sides.get(axis, 1) for axis in bundle.input_axes))
    except BenchmarkError:
        return None


def _figures(
    own: list[float], default: list[float], peaks: list[float], gflop: float | None, *, emulated: bool
) -> DeviceFigures:
    times, peak = np.asarray(own), np.asarray(peaks)
    return DeviceFigures(
        frame_ms=Spread.of(times),
        speed=Spread.of(np.asarray(default) / times),
        peak_gflop_per_s=Spread.of(peak),
        share_of_peak=None if gflop is None else Spread.of(gflop / (times / 1e3) / peak),
        emulated=emulated,
    )


def _lap_ms(run: Callable[[Any], object], frames: Sequence[Any]) -> float:
    """Median time of a frame."""
    times = []
    for frame in frames:
        started = time.perf_counter()
        run(frame)
        times.append((time.perf_counter() - started) * 1e3)
    return float(np.median(times))
