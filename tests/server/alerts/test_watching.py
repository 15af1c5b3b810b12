"""What is watched besides the flags of streams: recordings, the disk, the checks of /readyz."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dimstream_client.messages import Frame
from dimstream_client.quality import Times
from dimstream_server.alerts.watching import AlertWatch
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.engine.resume_state import Counts
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.monitoring.readiness import Readiness
from dimstream_server.settings import Settings
from dimstream_server.streams import SeenFrame, StreamEnded

GB = 10**9
SETTINGS = {"recording": {"warn_bytes": 20 * GB, "reserve_bytes": GB}, "alerts": {"repeat_s": 0}}


class Site:
    """A server's parts as alerts see them; one stream, of which a frame came."""

    def __init__(self) -> None:
        self.now, self.free, self.said = 0.0, 100.0 * GB, None
        self.source: Any = SimpleNamespace(
            id="s1", client="sted", counts=Counts(), is_request=False, closing=False, in_flight=0
        )
        self.recording: Any = SimpleNamespace(state=None)
        self.open: list[Any] = [self.source]
        self.kept = {"s1"}  # ids of streams that are open, or can be resumed
        service: Any = SimpleNamespace(
            streams=lambda: self.open,
            recording_of=lambda _: self.recording,
            exists=lambda name: name in self.kept,
        )
        self.metrics, self.readiness = Metrics(), Readiness()
        self.metrics.watch_disk("recordings", lambda: self.free)
        for name in ("journal", "draining", "recording"):
            self.readiness.add(name, lambda: self.said)
        settings = Settings.model_validate(SETTINGS)
        self.watch = AlertWatch(service, self.readiness, self.metrics, settings, clock=lambda: self.now)
        self.frame(0)

    def frame(self, seq: int) -> None:
        result = EngineResult(
            seq=seq, status="done", flag="ok", reason=None, ssim_prev=None, compared_seq=None, fractions=None,
            quality=None, model_sha256="ab", t_ms=Times(0, 0, 0), pixels=None, model_id="er",
        )  # fmt: skip
        frame = Frame("s1", seq, np.zeros((2, 2), np.uint16))
        self.watch.take(SeenFrame("s1", frame, result, self.source))

    def told(self) -> list[tuple[str, str]]:
        return [(notice.event, notice.finding.rule) for notice in self.watch.look()]


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.watch.close()


def test_while_all_is_well_nothing_is_told(site: Site) -> None:
    assert site.told() == []
    assert site.watch.report() == []


def test_a_recording_that_stopped_is_told_until_its_stream_ends(site: Site) -> None:
    site.recording.state = "the disk is full"
    assert site.told() == [("raised", "recording_stops")]
    (shown,) = site.watch.report()
    assert shown["text"] == "stream s1 of sted: not recorded any more: the disk is full"
    assert site.told() == []
    site.open.clear()  # its connection is lost
    assert site.told() == []
    site.open.append(site.source)
    site.source.closing = True
    site.recording = None
    assert site.told() == []
    site.watch.take(StreamEnded("s1"))
    (over,) = site.watch.look()
    assert (over.event, over.finding.rule) == ("cleared", "recording_stops")
    assert over.text == "the stream has ended, 0 s after this alert began: " + shown["text"]
    assert site.told() == []


def test_a_stream_that_is_resumed_and_recorded_again_is_well_again(site: Site) -> None:
    site.recording.state = "the disk is full"
    assert site.told() == [("raised", "recording_stops")]
    site.recording.state = None
    (over,) = site.watch.look()
    assert over.text.startswith("well again after 0 s: ")


def test_a_disk_that_fills_is_well_again_with_some_room_to_spare(site: Site) -> None:
    site.free = 19.9 * GB
    assert site.told() == [("raised", "disk_fills")]
    for free in (20.1, 19.9, 20.9):  # it hovers
        site.free = free * GB
        assert site.told() == []
    site.free = 21.1 * GB
    assert site.told() == [("cleared", "disk_fills")]


def test_a_check_that_fails_is_told_but_not_that_the_server_was_asked_to_stop(site: Site) -> None:
    site.said = "cannot be written"  # type: ignore[assignment]
    notices = site.watch.look()
    assert [(one.finding.rule, one.finding.subject) for one in notices] == [("not_ready", "journal")]


def test_frames_that_stop_and_a_client_that_is_gone(site: Site) -> None:
    site.now = 61.0
    assert site.told() == [("raised", "frames_stop")]
    site.open.clear()
    assert site.told() == []
    assert "connection was lost" in site.watch.report()[0]["text"]
    site.open.append(site.source)
    site.frame(1)
    assert site.told() == [("cleared", "frames_stop")]


def test_a_stream_that_never_sends_a_frame_is_reported(site: Site) -> None:
    site.open[:] = [SimpleNamespace(**{**vars(site.source), "id": "s2"})]
    site.kept.add("s2")
    site.watch.take(StreamEnded("s1"))
    assert site.told() == []
    site.now = 61.0
    (notice,) = site.watch.look()
    assert (notice.finding.stream, notice.finding.seq) == ("s2", None)
    assert notice.text == "stream s2 of sted: no frame for 61 s since its client opened or resumed it"


def test_a_stream_that_could_not_be_opened_is_forgotten(site: Site) -> None:
    site.watch.take(StreamEnded("s1"))
    site.source.id = "s2"
    site.kept = {"s2"}
    assert site.told() == []  # it is being opened
    site.open.clear()
    site.kept.clear()
    site.now = 1e6
    assert site.told() == []


def test_requests_have_no_alerts(site: Site) -> None:
    site.watch.take(StreamEnded("s1"))
    site.source.is_request = True
    site.frame(0)
    assert site.told() == []
    site.now = 1e6
    assert site.told() == []


def test_figures_say_what_stands_and_what_was_told(site: Site) -> None:
    site.recording.state = "full"
    site.watch.look()
    text = site.metrics.exposition().decode()
    assert 'dimstream_alerts{rule="recording_stops"} 1.0' in text
    assert 'dimstream_alerts_raised_total{rule="recording_stops"} 1.0' in text
    assert 'dimstream_alerts{rule="suspect"} 0.0' in text
    assert "dimstream_alert_posts" not in text  # there is no web hook
