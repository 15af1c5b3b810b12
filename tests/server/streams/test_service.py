"""The service by itself: files are opened off the loop, in order, and a stream keeps its place meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dimstream_client.messages import Close, Update
from dimstream_server.errors import ServerBusy, TooManyStreams, UnknownStream
from dimstream_server.streams.updating import MOST_UNANSWERED

RunService = Callable[..., None]


async def asked(recorder: Any, count: int) -> None:
    async with asyncio.timeout(60):
        while len(recorder.asked) < count:
            await asyncio.sleep(0.005)


def test_other_streams_go_on_while_the_files_of_one_are_opened(
    run_service: RunService, held_recorder: Any
) -> None:
    async def test(bench: Any) -> None:
        opening = asyncio.ensure_future(bench.open(save=True))
        await asked(held_recorder, 1)
        other, _ = await bench.open(b"other")
        await bench.denoise(other, 3)
        assert not opening.done()
        assert len(bench.service.streams()) == 2
        assert not bench.service.is_drained
        held_recorder.disk_answers.set()
        stream, _ = await opening
        await bench.denoise(stream, 2)
        bench.service.close(stream, Close(stream.id, 1))
        await bench.answers.until(lambda: bool(bench.answers.ends))
        assert bench.answers.ends[0].files
        assert {thread.rpartition("_")[0] for _, thread in held_recorder.asked} == {"recording-opener"}

    run_service(test, recorder=held_recorder)


def test_files_are_opened_in_the_order_of_the_opens(run_service: RunService, held_recorder: Any) -> None:
    async def test(bench: Any) -> None:
        openings = [asyncio.ensure_future(bench.open(bytes([n + 1]), save=True)) for n in range(4)]
        await asked(held_recorder, 1)
        held_recorder.disk_answers.set()
        streams = [stream.id for stream, _ in await asyncio.gather(*openings)]
        assert [stream for stream, _ in held_recorder.asked] == streams

    run_service(test, recorder=held_recorder)


def test_a_stream_that_is_being_opened_has_its_place(run_service: RunService, held_recorder: Any) -> None:
    async def test(bench: Any) -> None:
        opening = asyncio.ensure_future(bench.open(save=True))
        await asked(held_recorder, 1)
        with pytest.raises(TooManyStreams, match="all 1 streams are in use"):
            await bench.open(b"other")
        held_recorder.disk_answers.set()
        await opening

    run_service(test, recorder=held_recorder, limits={"max_streams": 1})


def test_nothing_is_kept_of_a_stream_whose_client_leaves_while_it_is_opened(
    run_service: RunService, held_recorder: Any
) -> None:
    async def test(bench: Any) -> None:
        opening = asyncio.ensure_future(bench.open(save=True))
        await asked(held_recorder, 1)
        (stream,) = bench.service.streams()
        bench.service.release_peer(b"peer", "a test took it")
        held_recorder.disk_answers.set()
        with pytest.raises(UnknownStream, match="while it was being opened"):
            await opening
        with pytest.raises(UnknownStream):
            bench.service.subscribe(stream.id)
        assert bench.service.is_drained

    run_service(test, recorder=held_recorder)


def test_of_two_that_resume_a_stream_at_once_the_later_has_it(
    run_service: RunService, held_recorder: Any
) -> None:
    async def test(bench: Any) -> None:
        held_recorder.disk_answers.set()
        stream, opened = await bench.open(save=True)
        await bench.denoise(stream, 3)
        again = {
            "save": True,
            "stream": stream.id,
            "resume_token": opened.resume_token,
            "next_result": 3,
        }
        held_recorder.disk_answers.clear()
        first = asyncio.ensure_future(bench.open(b"first", **again))
        await asked(held_recorder, 2)
        second = asyncio.ensure_future(bench.open(b"second", **again))
        await asyncio.sleep(0)
        held_recorder.disk_answers.set()
        with pytest.raises(UnknownStream, match="another one has resumed it"):
            await first
        resumed, _ = await second
        assert resumed.peer == b"second"
        await bench.denoise(resumed, 2, first=3)
        bench.service.close(resumed, Close(stream.id, 4))
        await bench.answers.until(lambda: bool(bench.answers.ends))
        assert bench.answers.ends[0].error is None
        assert bench.answers.ends[0].counts["done"] == 5

    run_service(test, recorder=held_recorder)


def test_a_client_that_floods_with_updates_is_refused_and_its_stream_goes_on(run_service: RunService) -> None:
    async def test(bench: Any) -> None:
        stream, _ = await bench.open()
        other, _ = await bench.open(b"other")
        for n in range(MOST_UNANSWERED):  # the loop answers none of them meanwhile
            bench.service.update(stream, Update(stream.id, 0, thresholds={"ssim": n / 100}))
        for _ in range(100):
            with pytest.raises(ServerBusy, match=f"{MOST_UNANSWERED} changes of stream {stream.id}"):
                bench.service.update(stream, Update(stream.id, 0, thresholds={"ssim": 0.9}))
        with pytest.raises(ServerBusy):
            await bench.service.change(stream.id, None, {"ssim": 0.9}, by="ada")
        bench.service.update(other, Update(other.id, 0, thresholds={"ssim": 0.5}))
        await bench.answers.until(lambda: len(bench.answers.updates) == MOST_UNANSWERED + 1)
        assert stream.thresholds.ssim == (MOST_UNANSWERED - 1) / 100
        await bench.denoise(stream, 2)
        bench.service.update(stream, Update(stream.id, 2, thresholds={"ssim": 0.25}))
        await bench.answers.until(lambda: len(bench.answers.updates) == MOST_UNANSWERED + 2)
        assert bench.answers.updates[-1].thresholds.ssim == 0.25

    run_service(test)
