"""A movie that any process makes again from its seed, and what of a result no clock decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_client.messages import PlaneIndex, Result

MARKED = 999
_STILL = 9  # frames between two steps of the scene


@dataclass(frozen=True)
class Movie:
    """Frames of a scene that moves, goes dark and comes back, so that the judges have something to remember.

    Parameters
    ----------
    planes : int
        Planes of the stack; each is compared with itself a time point before.
    marked : tuple of int
        Frames with four pixels of `MARKED` counts, on which the models of `bundles` fail.
    """

    side: int = 64
    planes: int = 3
    seed: int = 1
    marked: tuple[int, ...] = ()

    def frame(self, seq: int) -> NDArray[np.uint16]:
        """(H, W) uint16, photon counts of frame `seq`."""
        scene = np.random.default_rng(self.seed).normal(1, 1.5, (self.side // 8, self.side // 8)).clip(0)
        scene = np.roll(scene.repeat(8, 0).repeat(8, 1), seq // _STILL, 0)
        is_dark = 30 <= seq % 100 < 45
        counts = np.random.default_rng([self.seed, seq]).poisson((0 if is_dark else 3) * scene + 0.3)
        if seq in self.marked:
            counts[:2, :2] = MARKED
        return counts.astype(np.uint16)

    def index(self, seq: int) -> PlaneIndex:
        """Where frame `seq` belongs."""
        return PlaneIndex(t=seq // self.planes, z=seq % self.planes)


def said(result: Result) -> dict[str, Any]:
    """All of a result that no clock decides; its pixels by their SHA-256."""
    quality = result.quality
    if quality is not None and quality.split is not None:
        quality = replace(quality, split=replace(quality.split, t_ms=None))
    problem = result.error
    return {
        "seq": result.seq,
        "index": asdict(result.index),
        "status": result.status,
        "flag": result.flag,
        "reason": result.reason,
        "ssim": result.ssim_prev,
        "compared": result.compared_seq,
        "quality": None if quality is None else repr(quality),
        "problem": None if problem is None else problem.code,
        "pixels": None if result.pixels is None else hashlib.sha256(result.pixels.tobytes()).hexdigest(),
        "support": None if result.support is None else hashlib.sha256(result.support.tobytes()).hexdigest(),
    }


@dataclass(frozen=True)
class Comparison:
    """What came of a disturbed run, next to the undisturbed one."""

    frames: int
    answered: int
    duplicates: int
    out_of_order: int
    missing: int
    differing_pixels: int
    differing_ssim: int
    differing_otherwise: int

    @property
    def is_identical(self) -> bool:
        """Whether every frame was answered exactly once, in order, and as without faults."""
        return self.answered == self.frames and not any(list(asdict(self).values())[2:])

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def compare(undisturbed: Sequence[dict[str, Any]], got: Sequence[dict[str, Any]]) -> Comparison:
    """Compare what was `said` in two runs of one movie."""
    order = [each["seq"] for each in got]
    by_seq = {each["seq"]: each for each in got}
    pairs = [(before, by_seq[before["seq"]]) for before in undisturbed if before["seq"] in by_seq]

    def differ(*names: str) -> int:
        return sum(any(before[name] != after[name] for name in names) for before, after in pairs)

    return Comparison(
        frames=len(undisturbed),
        answered=len(by_seq),
        duplicates=len(order) - len(by_seq),
        out_of_order=sum(after < before for before, after in pairwise(order)),
        missing=len(undisturbed) - len(pairs),
        differing_pixels=differ("pixels"),
        differing_ssim=differ("ssim", "compared"),
        differing_otherwise=differ("index", "status", "flag", "reason", "quality", "problem", "support"),
    )
