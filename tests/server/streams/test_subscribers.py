"""Who watches a stream gets its newest frames, and costs neither the stream nor other watchers anything."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimstream_client.messages import Close, Frame
from dimstream_client.quality import Times
from dimstream_server.endpoints.http.app import HttpApp
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.errors import UnknownStream
from dimstream_server.monitoring.readiness import Readiness
from dimstream_server.streams import FlagChange
from dimstream_server.streams.subscribers import SeenFrame, StreamEnded, Subscribers

PIXELS = np.ones((4, 6), np.uint16)
RunService = Callable[..., None]


def result(seq: int) -> EngineResult:
    return EngineResult(
        seq=seq, status="done", flag="ok", reason=None, ssim_prev=0.9, compared_seq=seq - 1, fractions=None,
        quality=None, model_sha256="ab", t_ms=Times(0.1, 0.2, 0.3), pixels=PIXELS, model_id="blur",
    )  # fmt: skip


def show(subscribers: Subscribers, stream: str, seq: int, **options: bool) -> None:
    subscribers.publish(stream, Frame(stream, seq, PIXELS), result(seq), **options)


def held(subscription: Any) -> list[Any]:
    """What is held, as (stream, seq) of frames and the ids of streams that ended; it is read."""
    seen = [one for one in iter(subscription.take, None) if not isinstance(one, FlagChange)]
    return [(one.stream, one.result.seq) if isinstance(one, SeenFrame) else one.stream for one in seen]


def test_the_newest_frames_win() -> None:
    subscribers = Subscribers()
    watcher = subscribers.add("a", 3)
    for seq in range(10):
        show(subscribers, "a", seq)
    assert (len(watcher), watcher.dropped) == (3, 7)
    assert held(watcher) == [("a", 7), ("a", 8), ("a", 9)]


def test_one_stream_or_all() -> None:
    subscribers = Subscribers()
    one, every = subscribers.add("a", 8), subscribers.add(None, 8)
    for seq in range(2):
        show(subscribers, "a", seq)
        show(subscribers, "b", seq)
    assert held(one) == [("a", 0), ("a", 1)]
    assert held(every) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_an_end_outlives_frames_that_are_dropped() -> None:
    subscribers = Subscribers()
    every = subscribers.add(None, 2)
    show(subscribers, "a", 0)
    subscribers.end("a")
    show(subscribers, "b", 0)
    show(subscribers, "b", 1)
    assert held(every) == ["a", ("b", 1)]


def test_a_change_of_flags_outlives_frames_that_are_dropped(run_service: RunService) -> None:
    async def test(bench: Any) -> None:
        stream, _ = await bench.open()
        one, every = (bench.service.subscribe(watched, capacity=2) for watched in (stream.id, None))
        await bench.denoise(stream, 20)  # each frame is another sample
        for watcher in (one, every):
            (change,) = [seen for seen in iter(watcher.take, None) if isinstance(seen, FlagChange)]
            assert (change.stream, change.client, change.model) == (stream.id, "c", "blur")
            assert change.is_suspect
            assert (change.suspect_planes, change.planes) == (1, 1)
            assert bench.answers.results[change.seq].flag == "suspect"
            assert bench.answers.results[change.seq].reason == change.reason

    run_service(test)


def test_reading_stops_behind_the_last_frame_of_a_stream_that_ended() -> None:
    async def read() -> list[int]:
        subscribers = Subscribers()
        watcher = subscribers.add("a", 8)
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, show, subscribers, "a", 0)
        loop.call_later(0.02, show, subscribers, "a", 1)
        loop.call_later(0.03, subscribers.end, "a")
        seen = [one.result.seq async for one in watcher if isinstance(one, SeenFrame)]
        assert watcher.is_over
        assert not len(subscribers)
        return seen

    assert asyncio.run(read()) == [0, 1]


def test_who_leaves_holds_nothing_and_is_not_shown_anything() -> None:
    subscribers = Subscribers()
    with subscribers.add("a", 8) as watcher:
        show(subscribers, "a", 0)
    show(subscribers, "a", 1)
    assert (len(watcher), len(subscribers)) == (0, 0)


def test_a_capacity_of_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        Subscribers().add(None, 0)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.sampled_from("ab")),
        st.tuples(st.just("end"), st.sampled_from("ab")),
        st.tuples(st.just("read"), st.just("")),
    ),
    max_size=60,
)


@given(events=EVENTS, capacity=st.integers(1, 5))
def test_whatever_happens_a_watcher_is_bounded_ordered_and_has_the_newest(
    events: list[tuple[str, str]], capacity: int
) -> None:
    subscribers = Subscribers()
    every = subscribers.add(None, capacity)
    shown, read, last = 0, 0, -1
    for seq, (event, stream) in enumerate(events):
        if event == "read":
            one = every.take()
            read += one is not None
            if isinstance(one, SeenFrame):
                assert one.result.seq > last
                last = one.result.seq
            continue
        shown += 1
        if event == "frame":
            show(subscribers, stream, seq)
        else:
            subscribers.end(stream)
        assert len(every) <= capacity
    assert read + len(every) + every.dropped == shown
    newest = [(stream, seq) if event == "frame" else stream for seq, (event, stream) in enumerate(events)]
    if events and events[-1][0] != "read":
        assert held(every)[-1] == newest[-1]


# --- at the service


def test_one_that_never_reads_changes_nothing_for_the_client(run_service: RunService) -> None:
    async def test(bench: Any) -> None:
        plain, _ = await bench.open(window=2)
        await bench.denoise(plain, 20)
        alone, bench.answers.results = bench.answers.results, []
        stream, _ = await bench.open(window=2)
        watcher = bench.service.subscribe(stream.id, capacity=3)
        await bench.denoise(stream, 20)
        watched = bench.answers.results
        for before, now in zip(alone, watched, strict=True):
            assert (before.seq, before.flag, before.limit) == (now.seq, now.flag, now.limit)
            assert np.array_equal(before.pixels, now.pixels)
        assert (len(watcher), watcher.dropped) == (3, 17)
        assert [seq for _, seq in held(watcher)] == [17, 18, 19]

    run_service(test, server={"suspect_after": 1000})


def test_a_watcher_gets_the_raw_frame_and_its_result_and_the_end(run_service: RunService) -> None:
    async def test(bench: Any) -> None:
        stream, _ = await bench.open()
        watcher = bench.service.subscribe(stream.id)
        every = bench.service.subscribe(None)
        await bench.denoise(stream, 1)
        frame = bench.send(stream, 1)
        bench.service.close(stream, Close(stream.id, 1))
        seen = [one async for one in watcher]
        assert [one.result.seq for one in seen] == [0, 1]
        assert seen[1].frame is frame
        assert np.array_equal(seen[1].result.pixels, bench.answers.results[1].pixels)
        assert held(every) == [(stream.id, 0), (stream.id, 1), stream.id]
        assert bench.answers.ends[0].counts["done"] == 2

    run_service(test)


def test_a_stream_that_is_resumed_is_still_watched(run_service: RunService) -> None:
    async def test(bench: Any) -> None:
        stream, opened = await bench.open()
        watcher = bench.service.subscribe(stream.id)
        await bench.denoise(stream, 2)
        bench.service.release_peer(b"peer", "a test took it")
        assert not bench.service.streams()
        resumed, _ = await bench.open(
            b"other", stream=stream.id, resume_token=opened.resume_token, next_result=2
        )
        await bench.denoise(resumed, 1, first=2)
        assert held(watcher) == [(stream.id, 0), (stream.id, 1), (stream.id, 2)]
        assert not watcher.is_over

    run_service(test)


def test_the_end_of_a_lease_is_the_end_of_a_stream(run_service: RunService) -> None:
    async def test(bench: Any) -> None:
        stream, _ = await bench.open()
        watcher = bench.service.subscribe(stream.id)
        bench.service.release_peer(b"peer", "a test took it")
        assert [one async for one in watcher] == []
        with pytest.raises(UnknownStream, match="expected an open stream"):
            bench.service.subscribe(stream.id)

    run_service(test, zmq={"lease_s": 0.05})


def test_who_watches_is_told_when_the_service_stops(run_service: RunService) -> None:
    watchers = []

    async def test(bench: Any) -> None:
        watchers.append(bench.service.subscribe(None))

    run_service(test)
    assert watchers[0].is_over


def test_requests_by_http_are_seen_listed_and_counted_like_streams(run_service: RunService) -> None:
    async def test(bench: Any) -> None:
        app = HttpApp(
            bench.engine, bench.settings, bench.metrics, service=bench.service, readiness=Readiness()
        )
        movie = np.random.default_rng(0).poisson(9, (5, 24, 32)).astype(np.uint16)
        file = io.BytesIO()
        np.save(file, movie)
        watcher = bench.service.subscribe(None, capacity=8)
        listed: list[Any] = []

        async def look() -> None:
            first = await anext(watcher)
            assert isinstance(first, SeenFrame)
            assert np.array_equal(first.frame.pixels, movie[0])
            assert not np.shares_memory(first.frame.pixels, movie)

        transport = httpx.ASGITransport(app.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            looking = asyncio.ensure_future(look())
            answer = await client.post("/v1/models/blur/denoise?axes=TYX", content=file.getvalue())
            assert answer.status_code == 200
            await looking
            listed = json.loads((await client.get("/v1/streams")).content)["streams"]
            figures = (await client.get("/metrics")).text
        app.close()
        seen = list(iter(watcher.take, None))
        assert [one.result.seq for one in seen if isinstance(one, SeenFrame)] == [1, 2, 3, 4]
        assert isinstance(seen[-1], StreamEnded)
        assert listed == []  # it is over
        assert 'dimstream_stream_frames_denoised_total{client="http",stream="http"} 5.0' in figures
        assert 'dimstream_stream_open{client="http"' not in figures

    run_service(test)
