"""Figures that an analysis sends: who may, what is refused, and where they are found afterwards."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from live_viewers import PATIENCE_S, viewing
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed

from dimstream_client import Client
from dimstream_client.keys import TOKEN, read_only_entry
from dimstream_client.messages import Close, Closed, Frame, Open, Opened
from dimstream_models.er_figures import FIGURES
from dimstream_server.cli import main
from dimstream_server.endpoints.http.live.er_rows import ErRows
from dimstream_server.endpoints.http.live.shown_frame import FLAGS
from dimstream_server.recording import AnalysedFrame

SHAPE = (24, 32)
Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def ask(request_of: Any) -> Ask:
    """`ask(server, stream, seq, figures, plane=…, token=…)`: status and body of the answer."""

    def send(
        server: Any, stream: str, seq: Any, figures: Any, *, token: str = "", **more: Any
    ) -> tuple[int, dict[str, Any]]:
        body = {"seq": seq, "plane": [0, 0, 0], "analysis": "Drawn()", "figures": figures, **more}
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        path = f"/v1/streams/{stream}/figures"
        answer = request_of("POST", path, json.dumps(body).encode(), headers, server=server)
        return answer.status, json.loads(answer.body)

    return send


def send(peer: Any, stream: str, count: int, make_counts: Any, *, first: int = 0) -> list[Any]:
    return [peer.denoise(stream, seq, make_counts(SHAPE, seed=seq)) for seq in range(first, first + count)]


def known(http: str, stream: str, frames: int, *, analysed: int = 0, token: str = "") -> dict[str, Any]:
    """What the live view says of a stream, once it knows so many frames, and figures of so many."""

    def of(header: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            one
            for one in header.get("streams", ())
            if one["stream"] == stream
            and one["frames"] >= frames
            and (one["analysis"] or {"frames": 0})["frames"] >= analysed
        ]

    with viewing(http, token=token) as viewer:
        header, _ = viewer.until(of)
    return of(header)[0]


def test_figures_come_to_viewers_with_the_flags_of_their_frames(
    server: Any, peer: Any, make_counts: Any, ask: Ask
) -> None:
    stream = peer.open(SHAPE, pixel_size_um=0.05).stream
    results = send(peer, stream, 3, make_counts)
    http = server.addresses.http
    assert known(http, stream, 3)["analysis"] is None
    for seq, gaps in ((0, 4), (2, 7)):
        figures = {"gaps": gaps, "gaps_area": 100.0 * gaps, "tortuosity": None}
        status, body = ask(server, stream, seq, figures)
        assert (status, body["flag"], body["recorded"]) == (200, results[seq].flag, False)
        assert body["reason"] == "the stream is not recorded"
    with viewing(http) as viewer:
        viewer.watch(stream=stream, er=["gaps", "gaps_area", "tortuosity"])
        header, arrays = viewer.of_kind("er")
        assert (header["first"], header["every"]) == (0, 1)
        assert arrays["seq"].tolist() == [0, 2]
        assert arrays["flag"].tolist() == [FLAGS.index(results[seq].flag) for seq in (0, 2)]
        assert arrays["gaps"].tolist() == [4, 7]
        np.testing.assert_allclose(arrays["gaps_area"], [1.0, 1.75], rtol=1e-6)
        assert np.isnan(arrays["tortuosity"]).all()
        status, _ = ask(server, stream, 1, {"gaps": 5})
        assert status == 409
        send(peer, stream, 1, make_counts, first=3)
        known(http, stream, 4)
        assert ask(server, stream, 3, {"gaps": 9})[0] == 200
        header, arrays = viewer.of_kind("er")
        assert (header["first"], arrays["gaps"].tolist()) == (2, [9])
    last = known(http, stream, 4, analysed=3)["analysis"]
    assert (last["seq"], last["frames"], last["analysis"]) == (3, 3, "Drawn()")
    assert 0 <= time.time() - last["found_at"] < PATIENCE_S


BAD = {
    "an unknown figure": ({"figures": {"gap": 1}}, "'gap' is not a figure"),
    "no figure": ({"figures": {}}, "at least one of"),
    "text": ({"figures": {"gaps": "4"}}, "number"),
    "half a gap": ({"figures": {"gaps": 0.5}}, "whole number"),
    "fewer than none": ({"figures": {"gaps": -1}}, "whole number"),
    "too large": ({"figures": {"tortuosity": 1e16}}, "up to"),
    "another member": ({"flag": "ok"}, "flag"),
    "another plane": ({"plane": [0, 1, 0]}, "expected [0, 0, 0] of frame 0"),
    "no plane": ({"plane": [0, 0]}, "plane"),
    "a number that is none": ({"seq": -1}, "seq"),
    "a spreadsheet's formula": ({"analysis": "=1+1"}, "analysis"),
}


@pytest.fixture(scope="module")
def quiet_stream(server: Any) -> Iterator[str]:
    """A stream with one frame, which no figures came of."""
    with Client(server.addresses.zmq, name="quiet") as client:
        stream = client.open(SHAPE, "uint16", model="blur")
        stream.send(np.ones(SHAPE, np.uint16))
        known(server.addresses.http, stream.id, 1)
        yield stream.id
        assert known(server.addresses.http, stream.id, 1)["analysis"] is None


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_figure_is_refused(server: Any, quiet_stream: str, ask: Ask, case: str) -> None:
    change, said = BAD[case]
    members = {"seq": 0, "figures": {"gaps": 1}, **change}
    status, problem = ask(server, quiet_stream, members.pop("seq"), members.pop("figures"), **members)
    assert (status, problem["code"]) == (422, "bad_field")
    assert said in problem["detail"]


@pytest.mark.parametrize("figures", ['{"gaps": NaN}', '{"gaps": Infinity}', '{"gaps": 1', "[]"])
def test_what_is_no_json_is_refused(quiet_stream: str, request_of: Any, figures: str) -> None:
    body = f'{{"seq": 0, "plane": [0, 0, 0], "analysis": "D", "figures": {figures}}}'
    answer = request_of("POST", f"/v1/streams/{quiet_stream}/figures", body.encode())
    assert json.loads(answer.body)["code"] == "bad_field"


def test_frames_that_never_came_and_streams_that_are_not_there(
    server: Any, quiet_stream: str, ask: Ask
) -> None:
    for where, seq, code in ((quiet_stream, 1, "not_found"), ("nothing", 0, "unknown_stream")):
        status, problem = ask(server, where, seq, {"gaps": 1})
        assert (status, problem["code"]) == (404, code)


def test_viewers_cannot_ask_for_unknown_figures(server: Any) -> None:
    with viewing(server.addresses.http) as viewer:
        viewer.watch(stream="x", er=["gap"])
        with pytest.raises(ConnectionClosed) as closed:
            viewer.of_kind("er")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_only_analyses_and_operators_may_where_there_are_tokens(
    start_server: Any, connect: Any, make_counts: Any, ask: Ask, request_of: Any, tmp_path: Path
) -> None:
    kinds = {"tokens": "--token", "analyses": "--analysis", "operators": "--operator"}
    for option in kinds.values():
        assert main(["keygen", str(tmp_path), option, "ada"]) == 0
    tokens = {kind: read_only_entry(tmp_path / kind / "ada.token", TOKEN).value for kind in kinds}
    settings = {"tokens": "tokens", "analysis_tokens": "analyses", "operator_tokens": "operators"}
    server = start_server("blur", http={name: str(tmp_path / kind) for name, kind in settings.items()})
    peer = connect(server)
    stream = peer.open(SHAPE).stream
    send(peer, stream, 2, make_counts)
    known(server.addresses.http, stream, 2, token=tokens["analyses"])
    assert ask(server, stream, 0, {"gaps": 1})[1]["code"] == "bad_token"
    assert ask(server, stream, 0, {"gaps": 1}, token=tokens["tokens"])[1]["code"] == "not_analyst"
    assert ask(server, stream, 0, {"gaps": 1}, token=tokens["analyses"])[0] == 200
    assert ask(server, stream, 1, {"gaps": 1}, token=tokens["operators"])[0] == 200
    narrow = {"Authorization": f"Bearer {tokens['analyses']}"}
    refused = request_of("POST", "/v1/models/blur/denoise", b"", narrow, server=server)
    assert (refused.status, json.loads(refused.body)["code"]) == (403, "read_only")
    assert request_of("GET", "/v1/figures", headers=narrow, server=server).status == 200


def test_every_figure_is_listed_with_its_units(request_of: Any) -> None:
    listed = json.loads(request_of("GET", "/v1/figures").body)["figures"]
    assert [one["name"] for one in listed] == list(FIGURES)
    units = {one["name"]: (one["unit_px"], one["unit_um"]) for one in listed}
    assert units["tubule_length"] == ("px", "µm")
    assert units["gaps_area"] == ("px²", "µm²")
    assert units["junction_density"] == ("per px²", "per µm²")
    assert units["gaps"] == ("", "")


def test_metrics_show_the_last_figures(
    server: Any, peer: Any, make_counts: Any, ask: Ask, request_of: Any
) -> None:
    stream = peer.open(SHAPE, client="cell-7").stream
    send(peer, stream, 1, make_counts)
    known(server.addresses.http, stream, 1)
    assert ask(server, stream, 0, {"junctions": 12, "foreground": 0.25, "sheets": 3})[0] == 200
    text = request_of("GET", "/metrics").body.decode()
    shown = {
        (sample.name, sample.labels.get("figure")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("stream") == stream
    }
    assert shown["dimstream_stream_frames_analysed_total", None] == 1
    figures = {figure: value for (name, figure), value in shown.items() if name.endswith("er_figure")}
    assert figures == {"junctions": 12, "foreground": 0.25}
    assert shown["dimstream_stream_analysed_timestamp_seconds", None] == pytest.approx(time.time(), abs=300)


def test_figures_are_recorded_also_after_the_recording_was_made_final(
    start_server: Any, connect: Any, make_counts: Any, ask: Ask, tmp_path: Path
) -> None:
    server = start_server("blur", recording={"folder": str(tmp_path)})
    peer = connect(server)
    stream = peer.open(SHAPE, save=True, pixel_size_um=0.05).stream
    send(peer, stream, 3, make_counts)
    known(server.addresses.http, stream, 3)
    assert ask(server, stream, 1, {"gaps": 4, "gaps_area": 100.0})[1]["recorded"]
    closed = peer.ask(Close(stream, last_seq=2))
    assert isinstance(closed, Closed)
    assert ask(server, stream, 2, {"gaps": 5})[1]["recorded"]
    (path,) = tmp_path.glob("*/analysis.csv")
    table = pd.read_csv(path)
    assert table.seq.tolist() == [1, 2]
    assert table.gaps_area_um2[0] == pytest.approx(0.25)
    assert "analysis.csv" not in (path.parent / "SHA256SUMS").read_text()


def test_after_a_restart_the_figures_before_are_known(
    start_server: Any, connect: Any, make_counts: Any, ask: Ask, tmp_path: Path
) -> None:
    tables = {
        "server": {"state": str(tmp_path / "state")},
        "recording": {"folder": str(tmp_path / "recordings")},
    }
    first = start_server("blur", **tables)
    peer = connect(first)
    opened = peer.open(SHAPE, save=True, pixel_size_um=0.05)
    send(peer, opened.stream, 3, make_counts)
    known(first.addresses.http, opened.stream, 3)
    assert ask(first, opened.stream, 1, {"gaps": 4, "gaps_area": 100.0})[0] == 200
    first.begin_stop()
    assert first.wait_stopped()
    second = start_server("blur", **tables)
    peer = connect(second)
    again = peer.ask(
        Open(
            client="test", model="blur", shape=SHAPE, dtype="uint16", save=True, next_result=3,
            stream=opened.stream, resume_token=opened.resume_token, pixel_size_um=0.05,
        )
    )  # fmt: skip
    assert isinstance(again, Opened), again
    for seq in again.references:
        peer.send(Frame(opened.stream, seq, make_counts(SHAPE, seed=seq)))
    send(peer, opened.stream, 1, make_counts, first=3)
    with viewing(second.addresses.http) as viewer:
        viewer.watch(stream=opened.stream, er=["gaps", "gaps_area"])
        _, arrays = viewer.until(lambda header: header["type"] == "er")
    assert arrays["seq"].tolist() == [1]
    np.testing.assert_allclose(arrays["gaps_area"], [0.25], rtol=1e-6)


def test_a_million_frames_take_no_more_room_than_a_few() -> None:
    rows = ErRows(most=64)
    figures = {"gaps": 1.0}
    for seq in range(20_000):
        flag = "suspect" if seq == 7_001 else "ok"
        rows.add(AnalysedFrame(seq, (0, 0, 0), flag, 0.0, "D", figures), seq % 3)
    kept = rows.rows(0)
    assert len(kept) <= 64
    assert rows.count == 20_000
    assert 7_001 in kept.columns["seq"]
    assert [rows.newest(plane) for plane in range(4)] == [19_998, 19_999, 19_997, -1]
