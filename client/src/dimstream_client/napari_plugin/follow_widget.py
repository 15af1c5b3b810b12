"""The widget "Follow a stream"."""

from __future__ import annotations

import os
from typing import Any, Final

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QLabel, QLineEdit, QPushButton, QWidget

from dimstream_client.errors import KeyFileError
from dimstream_client.keys import TOKEN, read_only_entry
from dimstream_client.live import FollowedStream, StreamFollower
from dimstream_client.napari_plugin.follow_layers import FollowLayers

_LOOK_MS: Final = 50  # napari cannot draw faster; less would not look continuous
_ALL_PLANES: Final = "all planes"


class FollowWidget(QWidget):  # type: ignore[misc]  # Qt has no types here
    """Follows a stream of a server in layers, while it runs and afterwards."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._open = _Open()
        self.server = QLineEdit("http://127.0.0.1:8570")
        self.token_file = QLineEdit(os.environ.get("DIMSTREAM_TOKEN_FILE", ""))
        self.connect_button = QPushButton("Connect")
        self.streams, self.planes = QComboBox(), QComboBox()
        self.follow_newest = QCheckBox("Go to each new frame")
        self.follow_newest.setChecked(True)
        self.status = QLabel("Not connected.")
        self.status.setWordWrap(True)
        self._lay_out()
        self._seen = -1
        self._followed: tuple[str, Any] | None = None
        self._moves_itself = False
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self.connect_button.clicked.connect(self._connect_or_end)
        self.streams.activated.connect(self._choose_stream)
        self.planes.activated.connect(self._choose_plane)
        self.follow_newest.toggled.connect(self._set_following)
        napari_viewer.dims.events.current_step.connect(self._stepped)
        self.destroyed.connect(self._open.close)

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.addRow("Server", self.server)
        form.addRow("Token file", self.token_file)
        form.addRow(self.connect_button)
        form.addRow("Stream", self.streams)
        form.addRow("Plane", self.planes)
        form.addRow(self.follow_newest)
        form.addRow(self.status)

    def connect_to_server(self) -> None:
        """Connect to the server at the address in the field."""
        self.end()
        self._forget_layers()
        try:
            path = self.token_file.text().strip()
            token = read_only_entry(path, TOKEN).value if path else None
        except KeyFileError as error:
            self.status.setText(error.detail)
            return
        self._open.follower = StreamFollower(self.server.text().strip(), token=token)
        self.connect_button.setText("Disconnect")
        self._timer.start()

    def end(self) -> None:
        """End the connection; the layers stay until the next one. Frames that were not shown before are
        zeros."""
        self._timer.stop()
        self._open.close()
        self._followed = None
        self.streams.clear()
        self.planes.clear()
        self.connect_button.setText("Connect")
        self.status.setText("Not connected.")

    def _connect_or_end(self) -> None:
        if self._open.follower is None:
            self.connect_to_server()
        else:
            self.end()

    def _look(self) -> None:
        follower = self._open.follower
        if follower is None or follower.version == self._seen:
            return
        self._seen = follower.version
        known = follower.streams()
        self._list_streams(known)
        if self._open.layers is None and self.streams.count():
            self._choose_stream()
        stream = follower.stream
        self.status.setText(follower.problem or _told(stream))
        if stream is not None:
            self._list_planes(stream)
        if self._open.layers is not None and follower.problem is None:
            self._moves_itself = True
            try:
                self._open.layers.update()
            finally:
                self._moves_itself = False

    def _list_streams(self, known: list[FollowedStream]) -> None:
        for number, one in enumerate(known):
            words = f"{one.client}, {one.shape[0]} x {one.shape[1]}, {one.state}"
            at = self.streams.findData(one.id)
            if at < 0:
                self.streams.insertItem(number, words, one.id)
            elif self.streams.itemText(at) != words:
                self.streams.setItemText(at, words)

    def _list_planes(self, stream: FollowedStream) -> None:
        if not self.planes.count():
            self.planes.addItem(_ALL_PLANES, None)
        for plane in stream.planes[self.planes.count() - 1 :]:
            self.planes.addItem("channel {}, z {}, position {}".format(*plane), plane)

    def _choose_stream(self) -> None:
        self.planes.clear()
        self._follow(None)

    def _choose_plane(self) -> None:
        self._follow(self.planes.currentData())

    def _follow(self, plane: tuple[int, int, int] | None) -> None:
        follower, stream = self._open.follower, self.streams.currentData()
        if follower is None or stream is None or self._followed == (stream, plane):
            return
        self._followed = stream, plane
        self._forget_layers()
        follower.follow(stream, None if plane is None else (plane[0], plane[1], plane[2]))
        self._open.layers = FollowLayers(self._viewer, follower)
        self._open.layers.is_following = self.follow_newest.isChecked()

    def _forget_layers(self) -> None:
        layers, self._open.layers = self._open.layers, None
        if layers is not None:
            layers.remove()

    def _set_following(self, is_on: bool) -> None:
        if self._open.layers is not None:
            self._open.layers.is_following = is_on
            self._seen = -1

    def _stepped(self) -> None:
        layers = self._open.layers
        if layers is None or self._moves_itself:
            return
        if not layers.is_at_the_end:
            self.follow_newest.setChecked(False)
        layers.show_text()


class _Open:
    """Objects that must be closed with the widget."""

    def __init__(self) -> None:
        self.follower: StreamFollower | None = None
        self.layers: FollowLayers | None = None

    def close(self) -> None:
        follower, self.follower = self.follower, None
        if follower is not None:
            follower.close()


def _told(stream: FollowedStream | None) -> str:
    if stream is None:
        return "Connected. No frame has come yet."
    return {"open": "Running.", "away": "The sender is not connected.", "ended": "Ended."}[stream.state]
