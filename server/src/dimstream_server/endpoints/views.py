"""Pictures of denoised z-stacks in answers: orthogonal slices or a projection, as PNG."""

from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dimstream_client import views
from dimstream_client.criteria import Criteria
from dimstream_client.messages import PlaneIndex
from dimstream_client.volume_files import aspect_of
from dimstream_client.volumes import Series, judge_volumes
from dimstream_server.endpoints.images import ReadableStack
from dimstream_server.endpoints.problems import DoorRefusal
from dimstream_server.engine.protocol import EngineResult, ModelInfo

View = Literal["orthogonal", "projection"]


def criteria_of(model: ModelInfo) -> Criteria | None:
    """What the planes of this model's predictions are judged by; None when it has no SSIM threshold."""
    thresholds = model.thresholds
    if thresholds.ssim is None:
        return None
    return Criteria(ssim=thresholds.ssim, structure=thresholds.structure, split=thresholds.split)


class ViewSink:
    """8-bit grey PNG of one z-stack; its contrast is that of all time points of its channel and position.

    Give each frame to `note` before it is written, and the planes that cannot be believed are dimmed and
    left out of the projection (`docs/volumes.md`).

    Parameters
    ----------
    view : {"orthogonal", "projection"}
    time, channel, position : int
        Of the z-stack that is drawn.
    criteria : Criteria or None
        What planes are judged by; None: they are not.

    Raises
    ------
    DoorRefusal
        not_acceptable: the stack has no z, or its planes are too thick to draw; bad_query: it has no such
        time point, channel or position.
    """

    def __init__(
        self,
        stack: ReadableStack,
        dtype: str,
        *,
        view: View,
        time: int = 0,
        channel: int = 0,
        position: int = 0,
        criteria: Criteria | None = None,
    ) -> None:
        sizes = dict(zip(stack.axes, stack.shape, strict=True))
        _check(sizes, {"T": time, "C": channel, "P": position}, stack)
        depth, self._frame_shape = sizes["Z"], (sizes["Y"], sizes["X"])
        self._stack, self._view, self._criteria = stack, view, criteria
        self._place = {"t": time, "c": channel, "p": position}
        self._aspect = _aspect(stack, depth)
        self._brightness = views.Brightness(depth * sizes.get("T", 1), self._frame_shape)
        self._planes = np.zeros((depth, *self._frame_shape), dtype)  # (Z, H, W)
        self._records: list[dict[str, Any]] = []
        self._written = 0
        self._told: dict[str, str] = {}

    @property
    def told(self) -> str:
        """What the picture shows, in a line for a header; once it is finished."""
        return ", ".join(f"{name}={value}" for name, value in self._told.items())

    def note(self, index: PlaneIndex, result: EngineResult) -> None:
        """Take note of what speaks for and against a frame."""
        if self._is_of_series(index):
            self._records.append(
                {
                    "index": asdict(index),
                    "status": result.status,
                    "flag": result.flag,
                    "reason": result.reason,
                    "trust": None if result.trust is None else asdict(result.trust),
                }
            )

    def write(self, pixels: NDArray[Any]) -> None:
        """Append one frame."""
        index = self._stack.index(self._written)
        self._written += 1
        if self._is_of_series(index):
            self._brightness.add(pixels)
            if index.t == self._place["t"]:
                self._planes[index.z] = pixels

    def finish(self) -> bytes:
        """The whole file."""
        series = self._judged()
        kept = None if series is None else series.kept(len(self._planes))
        contrast = self._brightness.contrast()
        self._told = {**{name: str(at) for name, at in self._place.items()}, "keep": _keep(series)}
        if self._view == "projection":
            return views.png_bytes(views.projection(self._planes, contrast, kept=kept))
        place = views.middle(self._planes.shape, kept)
        self._told |= {"plane": str(place.plane), "row": str(place.row), "column": str(place.column)}
        self._told["aspect"] = "unknown" if self._aspect is None else f"{self._aspect:.4g}"
        picture = views.orthogonal(self._planes, place, contrast, aspect=self._aspect or 1.0, kept=kept)
        return views.png_bytes(picture)

    def _is_of_series(self, index: PlaneIndex) -> bool:
        return (index.c, index.p) == (self._place["c"], self._place["p"])

    def _judged(self) -> Series | None:
        if self._criteria is None or not self._records:
            return None
        report = judge_volumes(self._records, self._criteria)
        return report.of(self._place["c"], self._place["p"])


def _check(sizes: dict[str, int], place: dict[str, int], stack: ReadableStack) -> None:
    if sizes.get("Z", 1) < 2:
        raise DoorRefusal(
            "not_acceptable",
            f"a view wants a z-stack, of several planes along Z, got axes {stack.axes} of {stack.shape}; "
            "name them by ?axes=, or ask for the frames",
        )
    for axis, at in place.items():
        if not 0 <= at < sizes.get(axis, 1):
            raise DoorRefusal("bad_query", f"expected {axis} from 0 to {sizes.get(axis, 1) - 1}, got {at}")


def _aspect(stack: ReadableStack, depth: int) -> float | None:
    """z step / pixel size; None when the stack does not say both, and planes are drawn one pixel thick."""
    aspect = aspect_of(stack.scale)
    try:
        views.plane_of_rows(depth, aspect or 1.0)
    except ValueError as error:
        raise DoorRefusal("not_acceptable", str(error)) from error
    return aspect


def _keep(series: Series | None) -> str:
    if series is None:
        return "unjudged"
    return "none" if series.crop is None else f"{series.crop.first}-{series.crop.last}"
