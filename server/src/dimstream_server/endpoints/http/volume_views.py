"""Pictures of denoised z-stacks in answers: orthogonal slices or a projection, as PNG."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dimstream_client.files import ImageStack
from dimstream_client.messages import PlaneIndex
from dimstream_client.quality import Thresholds, plain
from dimstream_client.volumes import views
from dimstream_client.volumes.files import aspect_of
from dimstream_client.volumes.judging import Series, judge_volumes
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.problem_details import RequestRefused

View = Literal["orthogonal", "projection"]


@dataclass(frozen=True, slots=True)
class ViewOrder:
    """What a request wants to see.

    Parameters
    ----------
    time, channel, position : int
        Of the z-stack that is drawn.
    aspect : float or None
        z step / pixel size; None: as the stack says.
    """

    view: View
    time: int = 0
    channel: int = 0
    position: int = 0
    aspect: float | None = None


class ViewSink:
    """8-bit grey PNG of one z-stack; its contrast is that of all time points of its channel and position.

    Give each frame to `note` before it is written, and the planes that cannot be trusted are dimmed and
    left out of the projection (`docs/volumes.md`).

    Parameters
    ----------
    view : {"orthogonal", "projection"}
    time, channel, position : int
        Of the z-stack that is drawn.
    aspect : float or None
        z step / pixel size; None: as the stack says.
    thresholds : Thresholds or None
        What planes are judged by; None, or none of SSIM: they are not.

    Raises
    ------
    RequestRefused
        not_acceptable: the stack has no z, or its planes are too thick to draw; bad_query: it has no such
        time point, channel or position.
    """

    def __init__(
        self,
        stack: ImageStack,
        dtype: str,
        *,
        view: View,
        time: int = 0,
        channel: int = 0,
        position: int = 0,
        aspect: float | None = None,
        thresholds: Thresholds | None = None,
    ) -> None:
        sizes = dict(zip(stack.axes, stack.shape, strict=True))
        _check(sizes, {"time": time, "channel": channel, "position": position}, stack)
        depth, self._frame_shape = sizes["Z"], (sizes["Y"], sizes["X"])
        self._stack, self._view, self._thresholds = stack, view, thresholds
        self._place = {"t": time, "c": channel, "p": position}
        self._aspect = aspect_of(stack.scale) if aspect is None else aspect
        if view == "orthogonal":
            _check_thickness(depth, self._aspect or 1.0)
        self._brightness = views.Brightness(depth * sizes.get("T", 1), self._frame_shape)
        self._planes = np.zeros((depth, *self._frame_shape), dtype)  # (Z, H, W)
        self._records: list[dict[str, Any]] = []
        self._written = 0
        self._shown: dict[str, str] = {}

    @property
    def shown(self) -> str:
        """What the picture shows, in a line for a header; once it is finished."""
        return ", ".join(f"{name}={value}" for name, value in self._shown.items())

    def note(self, index: PlaneIndex, result: EngineResult) -> None:
        """Take note of what speaks for and against a frame."""
        if self._is_of_series(index):
            self._records.append(
                {
                    "index": plain(index),
                    "status": result.status,
                    "flag": result.flag,
                    "reason": result.reason,
                    "quality": plain(result.quality),
                }
            )

    def write(self, pixels: NDArray[Any]) -> None:
        """Append one frame, (H, W) denoised photon counts."""
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
        self._shown = {**{name: str(at) for name, at in self._place.items()}, **_kept(series)}
        if self._view == "projection":
            return views.png_bytes(views.projection(self._planes, contrast, kept=kept))
        place = views.middle(self._planes.shape, kept)
        self._shown |= {"plane": str(place.plane), "row": str(place.row), "column": str(place.column)}
        self._shown["aspect"] = "unknown" if self._aspect is None else f"{self._aspect:.4g}"
        picture = views.orthogonal(self._planes, place, contrast, aspect=self._aspect or 1.0, kept=kept)
        return views.png_bytes(picture)

    def _is_of_series(self, index: PlaneIndex) -> bool:
        return (index.c, index.p) == (self._place["c"], self._place["p"])

    def _judged(self) -> Series | None:
        if self._thresholds is None or self._thresholds.ssim is None or not self._records:
            return None
        report = judge_volumes(self._records, self._thresholds)
        return report.of(self._place["c"], self._place["p"])


def _check(sizes: dict[str, int], place: dict[str, int], stack: ImageStack) -> None:
    if sizes.get("Z", 1) < 2:
        raise RequestRefused(
            "not_acceptable",
            f"a view needs a z-stack, of several planes along Z, got axes {stack.axes} of {stack.shape}; "
            "give axes=ZYX for a z-stack that was saved as a movie, or leave view out",
        )
    for name, at in place.items():
        last = sizes.get(name[0].upper(), 1) - 1
        if not 0 <= at <= last:
            raise RequestRefused("bad_query", f"expected {name} from 0 to {last}, got {at}")


def _check_thickness(depth: int, aspect: float) -> None:
    try:
        views.plane_of_rows(depth, aspect)
    except ValueError as error:
        raise RequestRefused("not_acceptable", f"{error}, or give aspect") from error


def _kept(series: Series | None) -> dict[str, str]:
    if series is None:
        return {"keep": "unjudged"}
    crop = series.crop
    if crop is None:
        return {"keep": "none"}
    untrusted = {"untrusted": " ".join(map(str, crop.untrusted))} if crop.untrusted else {}
    return {"keep": f"{crop.first}-{crop.last}", **untrusted}
