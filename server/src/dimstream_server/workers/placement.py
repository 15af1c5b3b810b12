"""Which worker gets a stream."""

from __future__ import annotations

from collections.abc import Iterable

from dimstream_server.workers.placed_stream import PlacedStream, device_kind
from dimstream_server.workers.worker import Worker


def load_of(worker: Worker) -> tuple[int, int]:
    """Return the load of a worker: pixels of its unanswered frames, and of one frame of each of its
    streams."""
    waiting = sum(stream.pixels * stream.sent for stream in worker.placed)
    return waiting + sum(stream.pixels for stream in worker.placed), len(worker.placed)


def serves(worker: Worker, stream: PlacedStream) -> bool:
    """Whether a worker accepts streams and has what this one needs: the same weights and kind of device.

    The device of a worker is unknown until it has answered a frame.
    """
    takes = worker.is_up and not worker.is_leaving and worker not in stream.refusals
    if worker.device is not None and stream.device not in (None, device_kind(worker.device)):
        return False
    return takes and all(worker.models.get(model) == sha256 for model, sha256 in stream.models.items())


def choose(workers: Iterable[Worker], stream: PlacedStream, now: float) -> Worker | None:
    """Return the worker with the least load that serves what a stream needs, and has not just refused it."""
    fit = [one for one in workers if serves(one, stream) and stream.avoided.get(one, 0.0) <= now]
    return min(fit, key=load_of, default=None)


def surplus(workers: Iterable[Worker], streams: Iterable[PlacedStream]) -> list[PlacedStream]:
    """Return the streams that should move, so that no worker has two more than another one that could have
    them."""
    spare: list[PlacedStream] = []
    up = [worker for worker in workers if worker.is_up and not worker.is_leaving]
    counts = {worker: len(worker.placed) for worker in up}
    for stream in streams:
        place = stream.place
        if place is None or place.is_left or place.worker not in counts:
            continue
        others = [worker for worker in up if worker is not place.worker and serves(worker, stream)]
        emptiest = min(others, key=lambda worker: counts[worker], default=place.worker)
        if counts[place.worker] - counts[emptiest] >= 2:
            counts[place.worker] -= 1
            counts[emptiest] += 1
            spare.append(stream)
    return spare
