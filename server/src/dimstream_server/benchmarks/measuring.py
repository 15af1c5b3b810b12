"""The parts of the benchmark, one after the other; what is known is handed on after each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks import durability, following, gateway, viewing
from dimstream_server.benchmarks.batch import measure_batch
from dimstream_server.benchmarks.device_speed import ALWAYS, measure_devices
from dimstream_server.benchmarks.flag_cost import measure_flags
from dimstream_server.benchmarks.identity_bundle import write_identity_bundle
from dimstream_server.benchmarks.memory import measure_memory
from dimstream_server.benchmarks.model import frames_of, measure_model
from dimstream_server.benchmarks.plan import LAP_FRAMES, SHIPPED_LAP_FRAMES, Plan, make_frames
from dimstream_server.benchmarks.report import Figures

IDENTITY: Final = "identity"
SHIPPED: Final = "shipped"
OnFrames = Callable[[int], object]


class Measuring:
    """Measures part after part, and hands on all that is known after each step.

    Parameters
    ----------
    shipped : Bundle
        The model that is measured next to an identity.
    figures : Figures
        Without any; its `parts` are measured.
    tell : callable
        Called with the figures so far.
    """

    def __init__(
        self, shipped: Bundle, figures: Figures, plan: Plan, device: str, tell: Callable[[Figures], object]
    ) -> None:
        self.figures = figures
        self._shipped, self._plan, self._device, self._tell = shipped, plan, device, tell

    def measure(self) -> None:
        """Measure all parts.

        Raises
        ------
        BenchmarkError, BundleError, ServerProcessError, dimstream_server.errors.ServerError,
        dimstream_client.errors.DimstreamError
        """
        parts: dict[str, Callable[[dict[str, Bundle]], None]] = {
            "routes": self._routes,
            "memory": self._memory,
            "durability": self._durability,
            "viewers": self._viewers,
            "following": self._following,
            "flags": self._flags,
            "devices": self._devices,
            "batch": self._batch,
            "gateway": self._gateway,
        }
        with tempfile.TemporaryDirectory() as scratch:
            identity = write_identity_bundle(Path(scratch) / IDENTITY, like=self._shipped)
            for name in self.figures.parts:
                parts[name]({IDENTITY: identity, SHIPPED: self._shipped})

    def _found(self, **changes: Any) -> None:
        self.figures = replace(self.figures, **changes)
        self._tell(self.figures)

    def _routes(self, bundles: dict[str, Bundle]) -> None:
        for key, part in ((IDENTITY, self._plan.identity), (SHIPPED, self._plan.shipped)):
            with _progress(key, frames_of(part)) as on_frames:
                found = measure_model(bundles[key], part, self._device, on_frames)
            self._found(models={**self.figures.models, key: found})

    def _memory(self, bundles: dict[str, Bundle]) -> None:
        total, frames = self._plan.memory_frames, make_frames(LAP_FRAMES)
        with _progress("memory", total) as on_frames:
            self._found(memory=measure_memory(bundles[IDENTITY], frames, total, self._device, on_frames))

    def _durability(self, bundles: dict[str, Bundle]) -> None:
        rounds, before = self._plan.durability_rounds, self._plan.identity.warm_up_frames
        with _progress("durability", durability.frames_of(rounds)) as on_frames:
            measure = durability.measure_durability
            self._found(durability=measure(bundles[IDENTITY], rounds, before, self._device, on_frames))

    def _viewers(self, bundles: dict[str, Bundle]) -> None:
        for key, rounds in self._plan.viewing_rounds.items():
            with _progress(f"viewers, {key}", viewing.frames_of(rounds)) as on_frames:
                found = viewing.measure_viewing(bundles[key], rounds, self._device, on_frames)
            self._found(viewing={**self.figures.viewing, key: found})

    def _following(self, bundles: dict[str, Bundle]) -> None:
        if why := following.what_lacks():
            self._found(left_out={**self.figures.left_out, "following": why})
            return
        rounds, segmenters = self._plan.following_rounds, self._plan.segmenters
        with _progress("following", following.frames_of(rounds, segmenters)) as on_frames:
            measure = following.measure_following
            self._found(following=measure(bundles[SHIPPED], rounds, segmenters, self._device, on_frames))

    def _flags(self, bundles: dict[str, Bundle]) -> None:
        rounds, frames = self._plan.flag_rounds, self._plan.flag_frames
        with _progress("flags", rounds * frames * 3) as on_frames:
            self._found(flags=measure_flags(bundles[SHIPPED], rounds, frames, self._device, on_frames))

    def _devices(self, bundles: dict[str, Bundle]) -> None:
        plan = self._plan.devices
        with _progress("devices", plan.rounds * plan.lap_frames * len(ALWAYS)) as on_frames:
            self._found(devices=measure_devices(bundles[SHIPPED], plan, self._device, on_frames))

    def _batch(self, bundles: dict[str, Bundle]) -> None:
        rounds = self._plan.batch_rounds
        with _progress("batch", rounds * SHIPPED_LAP_FRAMES * 2) as on_frames:
            self._found(batch=measure_batch(bundles[SHIPPED], rounds, self._device, on_frames))

    def _gateway(self, bundles: dict[str, Bundle]) -> None:
        rounds, before = self._plan.gateway_rounds, self._plan.identity.warm_up_frames
        with _progress("gateway", gateway.frames_of(rounds)) as on_frames:
            measure = gateway.measure_gateway
            self._found(gateway=measure(bundles[IDENTITY], rounds, before, self._device, on_frames))


@contextmanager
def _progress(what: str, frames: int) -> Iterator[OnFrames]:
    from tqdm import tqdm

    with tqdm(total=frames, desc=what, unit="frame") as bar:
        yield bar.update
