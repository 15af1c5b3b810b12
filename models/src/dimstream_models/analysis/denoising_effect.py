"""How denoising and segmentation change every figure: simulated scenes with known labels, at several doses.

Each scene is exposed twice, one frame interval apart, denoised by a bundle as the server does it, segmented
and measured. Its noise-free image is measured as well. The same figures of its exact labels are the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dimstream_models.analysis.effects import NOISE_FREE, Effect, Effects
from dimstream_models.analysis.frame import FrameFindings, adjacent_ssim, analyse_frame
from dimstream_models.analysis.labels import Labels
from dimstream_models.analysis.linking import link_gaps, link_places
from dimstream_models.analysis.segmentation import Segmenter
from dimstream_models.training.evaluation.restoring import Restore
from dimstream_models.training.simulation.er_labels import er_truth
from dimstream_models.training.simulation.er_scenes import Scene, expose

DOSES_PH: Final = (0.3, 1.0, 3.0, 10.0)
INTERVAL_S: Final = 4.6
DARK_COUNTS: Final = 0.01
SIDE_PX: Final = 300
REACH_PX: Final = 10.0


@dataclass(frozen=True)
class _Pair:
    """Two frames of one scene: labels and images."""

    labels: tuple[Labels, Labels]
    images: tuple[NDArray[Any], NDArray[Any]]


def measure_effects(
    restore: Restore, segmenter: Segmenter, *, model: str, scenes: int, seed: int, side_px: int = SIDE_PX
) -> Effects:
    """Return the effects on scenes of the peripheral ER, drawn from a seed; progress is shown.

    Parameters
    ----------
    restore : function
        Function from counts (H, W) to denoised counts (H, W) float32.
    """
    found: dict[str, list[dict[str, float | None]]] = {}
    truths = []
    for number in tqdm(range(scenes), desc="scenes", unit="scene"):
        rng = np.random.default_rng((seed, number))
        scene = Scene.random(rng, (side_px, side_px), "er")
        start = float(rng.uniform(0, 300))
        times = (start, start + INTERVAL_S)
        clean = tuple(scene.structure(t) for t in times)
        exact = tuple(er_truth(scene, t).labels for t in times)
        truths.append(_figures(_Pair((exact[0], exact[1]), (clean[0], clean[1]))))
        for name, images in _variants(restore, clean, rng):
            labels = (segmenter.segment(images[0]), segmenter.segment(images[1]))
            found.setdefault(name, []).append(_figures(_Pair(labels, images)))
    effects = {
        name: {figure: _effect(truths, each, figure) for figure in truths[0]} for name, each in found.items()
    }
    return Effects(
        model=model,
        segmenter=repr(segmenter),
        scenes=scenes,
        seed=seed,
        side_px=side_px,
        effects=effects,
    )


def _variants(
    restore: Restore, clean: Sequence[NDArray[np.float32]], rng: np.random.Generator
) -> Iterator[tuple[str, tuple[NDArray[Any], NDArray[Any]]]]:
    yield NOISE_FREE, (clean[0], clean[1])
    for dose in DOSES_PH:
        first, second = (
            restore(expose(image, dose=dose, dark_counts=DARK_COUNTS, rng=rng)) for image in clean
        )
        yield f"{dose:g}", (first, second)


def _figures(pair: _Pair) -> dict[str, float | None]:
    """Return the figures of the second frame, in px, and the changes since the first."""
    before, after = (analyse_frame(labels) for labels in pair.labels)
    junctions = link_places(_junctions(before), _junctions(after), reach=REACH_PX)
    gaps = link_gaps(before.gaps, after.gaps)
    return {
        **after.figures,
        "ssim": adjacent_ssim(*pair.images),
        "junctions_appeared": len(_junctions(after)) - len(junctions.same),
        "junctions_vanished": junctions.lost + len(junctions.merged),
        "gaps_appeared": len(after.gaps) - len(gaps.same),
        "gaps_vanished": gaps.lost + len(gaps.merged),
    }


def _junctions(found: FrameFindings) -> NDArray[np.float64]:  # (n, 2)
    places = [found.graph.nodes[node]["place"] for node, degree in found.graph.degree() if degree > 2]
    return np.array(places, np.float64).reshape(-1, 2)


def _effect(
    truths: Sequence[Mapping[str, float | None]], found: Sequence[Mapping[str, float | None]], figure: str
) -> Effect:
    pairs = [(true[figure], each[figure]) for true, each in zip(truths, found, strict=True)]
    values = np.array([pair for pair in pairs if None not in pair], np.float64).reshape(-1, 2)
    if not len(values):
        return Effect(scenes=0, true=0.0, bias=0.0, spread=0.0)
    differences = values[:, 1] - values[:, 0]
    return Effect(
        scenes=len(values),
        true=float(values[:, 0].mean()),
        bias=float(differences.mean()),
        spread=float(differences.std(ddof=1)) if len(values) > 1 else 0.0,
    )
