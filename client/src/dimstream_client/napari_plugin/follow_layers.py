"""The layers of a followed stream: raw, denoised, support map, and the flag as a text overlay."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from dimstream_client.live import FollowedFrames, ShownFrame, StreamFollower
from dimstream_client.napari_plugin.layer_scale import placed
from dimstream_client.napari_plugin.support_labels import COLOURS, NAMES, LabelFrames

_AXES: Final = ("frame", "y", "x")
_AHEAD: Final = len(_AXES)
_PERCENTILES: Final = (0.1, 99.9)


class FollowLayers:
    """Adds the layers of a followed stream to a viewer, and extends them with new frames.

    `is_following` is whether the viewer goes to each new frame.
    """

    def __init__(self, viewer: Any, follower: StreamFollower) -> None:
        self._viewer, self._follower = viewer, follower
        self._frames: dict[str, FollowedFrames] = {}
        self._layers: dict[str, Any] = {}
        self.is_following = True

    def update(self) -> None:
        """Add the new frames. Called by the GUI thread."""
        newest = self._follower.newest
        if not self._layers:
            if newest is None or self._follower.stream is None or not len(self._follower.seqs()):
                return
            self._add(newest)
        for part, frames in self._frames.items():
            if frames.grow():
                layer = self._layers[part]
                layer.data = layer.data  # tells napari that the array has grown
        columns = self._follower.columns()
        for layer in self._layers.values():
            layer.metadata["dimstream"] = columns
        if self.is_following:
            self._viewer.dims.set_current_step(self._time_axis, len(self._any) - 1)
        self.show_text()

    def remove(self) -> None:
        """Remove the layers from the viewer."""
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._viewer.canvas.overlays.text.visible = False

    def show_text(self) -> None:
        """Show flag and figures of the displayed frame over the image."""
        overlay = self._viewer.canvas.overlays.text
        overlay.visible = True
        overlay.text = self.text()

    def text(self) -> str:
        """Return the flag of the displayed frame, with its reason and figures."""
        if not self._layers:
            return ""
        t = self.current_step
        frame = self._any.shown(t)
        if frame is None:
            why = self._follower.problem or "it is neither in the server's memory nor recorded"
            return f"frame {t} cannot be shown again: {why}"
        quality = frame.figures.get("quality") or {}
        words = [f"frame {frame.seq}: {frame.flag or frame.figures.get('status')}"]
        if frame.reason:
            words.append(frame.reason)
        if quality:
            words.append(
                f"structure score {quality['structure_score']:.1f}, unsupported"
                f" {100 * quality['unsupported_fraction']:.0f} %"
            )
        return "\n".join(words)

    @property
    def current_step(self) -> int:
        """Number of the displayed frame."""
        return int(self._viewer.dims.current_step[self._time_axis])

    @property
    def is_at_the_end(self) -> bool:
        """Whether the newest frame is displayed."""
        return not self._layers or self.current_step >= len(self._any) - 1

    @property
    def _any(self) -> FollowedFrames:
        return next(iter(self._frames.values()))

    @property
    def _time_axis(self) -> int:
        return int(self._viewer.dims.ndim) - _AHEAD

    def _add(self, newest: ShownFrame) -> None:
        stream = self._follower.stream
        assert stream is not None
        place = placed(stream.pixel_size_um, _AXES)
        for part in ("raw", "denoised"):
            if part not in newest.images:
                continue
            self._frames[part] = frames = FollowedFrames(self._follower, part)
            low, high = np.percentile(newest.images[part], _PERCENTILES)
            self._layers[part] = self._viewer.add_image(
                frames,
                name=f"{part} ({stream.client})",
                contrast_limits=(float(low), float(max(high, low + 1))),
                rgb=False,
                multiscale=False,
                **place,
            )
        if "support" in newest.images:
            self._frames["support"] = maps = FollowedFrames(self._follower, "support")
            self._layers["support"] = self._viewer.add_labels(
                LabelFrames(maps),
                name=f"support ({stream.client})",
                colormap=DirectLabelColormap(color_dict=dict(COLOURS)),
                features={"index": list(NAMES), "meaning": list(NAMES.values())},
                opacity=0.6,
                multiscale=False,
                **place,
            )
