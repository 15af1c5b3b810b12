"""The widget "Denoise a layer"."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from napari.layers import Image
from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.notifications import show_error, show_warning
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QWidget,
)

from dimstream_client.client import Client
from dimstream_client.counts_warning import warning_of
from dimstream_client.errors import DimstreamError
from dimstream_client.napari_plugin.denoising import DenoisedFrame, Denoising
from dimstream_client.napari_plugin.layer_scale import pixel_size_um
from dimstream_client.napari_plugin.stack_frames import AXES, StackFrames
from dimstream_client.napari_plugin.support_labels import COLOURS, NAMES, labels

_START, _CANCEL = "Denoise", "Cancel"
_LARGEST: Final = 1e9
_PERCENTILES: Final = (0.1, 99.9)


class DenoiseWidget(QWidget):  # type: ignore[misc]  # Qt has no types here
    """Sends the frames of an image layer to a server, and shows the denoised frames in a new layer."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._run: _Run | None = None
        self.layer, self.axes = QComboBox(), QComboBox()
        self.server = QLineEdit("tcp://127.0.0.1:5570")
        self.key = QLineEdit(os.environ.get("DIMSTREAM_KEY", ""))
        self.server_key = QLineEdit(os.environ.get("DIMSTREAM_SERVER_KEY", ""))
        self.offset, self.gain = QDoubleSpinBox(), QDoubleSpinBox()
        self.split_every, self.maps = QSpinBox(), QCheckBox("Support map as labels")
        self.button, self.progress, self.status = QPushButton(_START), QProgressBar(), QLabel("")
        self._lay_out()
        self.layer.currentIndexChanged.connect(self._list_axes)
        self.button.clicked.connect(self._start_or_cancel)
        for event in (napari_viewer.layers.events.inserted, napari_viewer.layers.events.removed):
            event.connect(self.list_layers)
        self.list_layers()

    def _lay_out(self) -> None:
        for box in (self.offset, self.gain):
            box.setDecimals(3)
            box.setRange(-_LARGEST, _LARGEST)
        self.gain.setMinimum(0.001)
        self.gain.setValue(1.0)
        self.status.setWordWrap(True)
        form = QFormLayout(self)
        for words, field in (
            ("Layer", self.layer),
            ("Axes", self.axes),
            ("Server", self.server),
            ("Key file", self.key),
            ("Server's key file", self.server_key),
            ("Detector offset", self.offset),
            ("Detector gain", self.gain),
            ("Split photons of every n-th time point (0: none)", self.split_every),
        ):
            form.addRow(words, field)
        for field in (self.maps, self.button, self.progress, self.status):
            form.addRow(field)

    def list_layers(self, event: Any = None) -> None:
        """List the image layers of the viewer, and keep the selection."""
        chosen = self.layer.currentText()
        self.layer.clear()
        self.layer.addItems([layer.name for layer in self._viewer.layers if isinstance(layer, Image)])
        self.layer.setCurrentText(chosen)
        self._list_axes()

    def _list_axes(self) -> None:
        self.axes.clear()
        name = self.layer.currentText()
        if name in self._viewer.layers and not self._viewer.layers[name].rgb:
            self.axes.addItems(AXES.get(self._viewer.layers[name].data.ndim, ()))

    def _start_or_cancel(self) -> None:
        if self._run is not None:
            self._run.cancel()
            self.status.setText("Canceling ...")
            return
        try:
            self._start()
        except DimstreamError as error:
            self.status.setText(error.detail)
            show_error(error.detail)

    def _start(self) -> None:
        name = self.layer.currentText()
        if name not in self._viewer.layers or not self.axes.currentText():
            self.status.setText("Choose a layer of grey images of 2 to 5 axes.")
            return
        layer = self._viewer.layers[name]
        stack = StackFrames(layer.data, self.axes.currentText())
        client = Client(
            self.server.text().strip(),
            key=self.key.text().strip() or None,
            server_key=self.server_key.text().strip() or None,
        )
        options: dict[str, Any] = {"axes": self.axes.currentText(), "maps": self.maps.isChecked()}
        if self.split_every.value():
            options["split_every"] = self.split_every.value()
        if (self.offset.value(), self.gain.value()) != (0.0, 1.0):
            options.update(offset=self.offset.value(), gain=self.gain.value())
        if (size := pixel_size_um(layer)) is not None:
            options["pixel_size_um"] = size
        self._run = run = _Run(self._viewer, layer, stack, client, options)
        self.button.setText(_CANCEL)
        self.progress.setRange(0, len(stack))
        self.progress.setValue(0)
        worker: GeneratorWorker[Any, Any, Any] = create_worker(run.frames, _start_thread=False)
        worker.yielded.connect(self._show)
        worker.errored.connect(run.fail)
        worker.finished.connect(self._end)
        worker.start()

    def _show(self, frame: DenoisedFrame) -> None:
        if self._run is None:
            return
        self._run.show(frame)
        self.progress.setValue(frame.seq + 1)
        self.status.setText(self._run.summary)

    def _end(self) -> None:
        run, self._run = self._run, None
        self.button.setText(_START)
        if run is None:
            return
        run.client.close()
        self.status.setText(run.summary)
        if run.problem:
            show_error(run.problem)
        elif run.warning:
            show_warning(run.warning)


class _Run:
    """One run: its thread, layers, and the results of its frames."""

    def __init__(
        self, viewer: Any, layer: Any, stack: StackFrames, client: Client, options: dict[str, Any]
    ) -> None:
        self.client = client
        self.problem: str | None = None
        self.warning: str | None = None
        self._viewer, self._source, self._stack = viewer, layer, stack
        self._denoising = Denoising(client, stack, **options)
        self._pixels: npt.NDArray[Any] = np.full(stack.shape, np.nan, np.float32)
        self._labels = np.zeros(stack.shape, np.uint8) if options["maps"] else None
        self._rows: dict[str, list[Any]] = {
            name: [] for name in ("frame", "flag", "reason", "structure_score", "ssim_prev")
        }
        self._image: Any = None
        self._map: Any = None
        self._is_canceled = False

    def frames(self) -> Iterator[DenoisedFrame]:
        """Yield the result of each frame; runs on the worker's thread."""
        yield from self._denoising.frames()

    def cancel(self) -> None:
        self._is_canceled = True
        self._denoising.cancel()

    def fail(self, error: Exception) -> None:
        if not self._is_canceled:
            self.problem = error.detail if isinstance(error, DimstreamError) else repr(error)

    def show(self, frame: DenoisedFrame) -> None:
        place = self._stack.place(frame.seq)
        for name, value in zip(
            self._rows, (frame.seq, frame.flag, frame.reason, frame.structure_score, frame.ssim)
        ):
            self._rows[name].append(value)
        self.warning = self.warning or warning_of(frame.reason)
        if frame.pixels is not None:
            self._pixels[place] = frame.pixels
        if frame.support is not None and self._labels is not None:
            self._labels[place] = labels(frame.support)
        if self._image is None and frame.pixels is not None:
            self._add_layers(frame.pixels)
        elif self._image is not None:
            for layer in (self._image, self._map):
                if layer is not None:
                    layer.refresh()

    @property
    def summary(self) -> str:
        """Return a sentence about the results so far."""
        flags = self._rows["flag"]
        told = ", ".join(f"{flags.count(flag)} {flag}" for flag in dict.fromkeys(flags))
        words = f"{len(flags)} of {len(self._stack)} frames: {told}." if flags else ""
        if self._is_canceled:
            words = f"Canceled. {words} Frames that were not denoised are NaN."
        return f"{words} {self.problem or self.warning or ''}".strip()

    def _add_layers(self, first: npt.NDArray[Any]) -> None:
        source = self._source
        place = {"scale": source.scale, "units": source.units, "axis_labels": source.axis_labels}
        low, high = np.percentile(first, _PERCENTILES)
        self._image = self._viewer.add_image(
            self._pixels,
            name=f"{source.name} denoised",
            contrast_limits=(float(low), float(max(high, low + 1e-3))),
            metadata={"dimstream": self._rows},
            rgb=False,
            **place,
        )
        if self._labels is not None:
            self._map = self._viewer.add_labels(
                self._labels,
                name=f"{source.name} support",
                colormap=DirectLabelColormap(color_dict=dict(COLOURS)),
                features={"index": list(NAMES), "meaning": list(NAMES.values())},
                opacity=0.6,
                **place,
            )
