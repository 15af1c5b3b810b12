"""A running stream gets a model that is adapted to its first frames, or keeps the one that it has."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from training.adapting.live_streams import MOVIE, Microscope, Microscopy, camera_values, microscopy

from dimstream_models.bundle import read_bundle
from dimstream_models.training.adapting.adaptation import Wanted
from dimstream_models.training.adapting.changing_model import StreamOfServer, put_in_force, undo
from dimstream_models.training.adapting.growing_recording import FirstFrames, GrowingRecording
from dimstream_models.training.adapting.live_adaptation import (
    LiveWish,
    _require_room,
    adapt_live,
    work_folder,
)
from dimstream_models.training.adapting.low_priority import LONGEST_S, Rests
from dimstream_models.training.adapting.running_server import InForce
from dimstream_models.training.errors import (
    CannotAdapt,
    NotBetter,
    NotInForce,
    NotPhotonCounts,
    ServerRefusal,
)

pytestmark = pytest.mark.slow

STEPS, RATE = 150, 0.01
FIRST = FirstFrames(most=18)


@pytest.fixture(scope="module")
def served(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Microscopy]:
    with microscopy(tiny_bundle, tmp_path_factory.mktemp("microscopy")) as running:
        yield running


def wish(served: Microscopy, name: str, tiny_bundle: Path, **wanted: Any) -> LiveWish:
    asked = Wanted(**{"steps": STEPS, "learning_rate": RATE, **wanted})
    return LiveWish(out=served.bundles / name, source=tiny_bundle, first=FIRST, wanted=asked)


def recording(of: Microscopy) -> GrowingRecording:
    (folder,) = of.recordings.iterdir()
    return GrowingRecording(folder, json.loads((folder / "recording.json").read_text())["stream"])


def lines_of(served: Microscopy) -> list[dict[str, Any]]:
    lines = (recording(served).folder / "frames.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def impatient(of: StreamOfServer) -> StreamOfServer:
    return replace(of, server=replace(of.server, patience_s=0.5))


class InBackground:
    """An adaptation in a thread, as it is in a process of its own."""

    def __init__(self, of: StreamOfServer, wish: LiveWish) -> None:
        self.changed: InForce | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(of, wish))
        self._thread.start()
        begun = work_folder(wish.out) / f"{wish.out.name}.run"
        deadline = time.monotonic() + 60
        while not begun.exists():
            assert time.monotonic() < deadline, f"no training within 60 s: {self.error}"
            time.sleep(0.01)

    def _run(self, of: StreamOfServer, wish: LiveWish) -> None:
        try:
            self.changed = adapt_live(of, wish)
        except Exception as error:
            self.error = error

    def wait(self) -> InForce:
        self._thread.join(240)
        assert self.changed is not None, f"not in force: {self.error}"
        return self.changed


def test_every_frame_says_which_weights_it_has_though_the_server_is_killed_meanwhile(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    former = read_bundle(tiny_bundle).sha256
    with microscopy(tiny_bundle, tmp_path) as own, Microscope(own.server.endpoint) as scope:
        of = own.stream(scope.id)
        adaptation = InBackground(of, wish(own, "cells-1", tiny_bundle))
        own.server.kill()
        own.server.start()
        changed = adaptation.wait()
        scope.wait_for(changed.from_seq + 2)
        back = undo(of)
        scope.wait_for(back.from_seq + 2)
        with pytest.raises(CannotAdapt, match="nothing to undo"):
            undo(of)
        again = adapt_live(of, wish(own, "cells-1", tiny_bundle))  # the bundle is there
        scope.wait_for(again.from_seq + 2)
        with pytest.raises(CannotAdapt, match=r"already uses cells-1 "):
            adapt_live(of, wish(own, "cells-1", tiny_bundle))
        results = scope.stop()
        with pytest.raises(NotInForce, match="has ended meanwhile"):
            put_in_force(of, read_bundle(own.bundles / "cells-1"), former, recording(own))
        own.server.kill()
        with pytest.raises(NotInForce, match=r"cells-1 is ready, but is not in use: no answer from"):
            put_in_force(impatient(of), read_bundle(own.bundles / "cells-1"), former, recording(own))
    adapted = read_bundle(own.bundles / "cells-1")
    assert [path.name for path in own.bundles.iterdir()] == ["cells-1"]

    def weights(seq: int) -> str:
        new = changed.from_seq <= seq < back.from_seq or seq >= again.from_seq
        return adapted.sha256 if new else former

    assert changed.model_sha256 == again.model_sha256 == adapted.sha256
    assert back.model_sha256 == former
    assert [result.seq for result in results] == list(range(len(results)))
    assert [result.model_sha256 for result in results] == [weights(seq) for seq in range(len(results))]
    lines = lines_of(own)
    frames = [line for line in lines if "event" not in line]
    assert [line["model_sha256"] for line in frames] == [weights(line["seq"]) for line in frames]
    updates = [line for line in lines if line.get("event") == "update"]
    assert [line["from_seq"] for line in updates] == [changed.from_seq, back.from_seq, again.from_seq]
    assert [line["model"]["sha256"] for line in updates] == [adapted.sha256, former, adapted.sha256]
    assert updates[0]["thresholds"]["ssim"] == pytest.approx(adapted.thresholds.ssim)
    assert updates[1]["thresholds"]["ssim"] is None  # as it was


def test_it_learns_from_the_first_frames_as_they_were_sent(served: Microscopy, tiny_bundle: Path) -> None:
    with Microscope(served.server.endpoint) as scope, pytest.raises(KeyboardInterrupt):
        adapt_live(served.stream(scope.id), wish(served, "frames", tiny_bundle, stop_after=1))
    (movie,) = (served.bundles / "frames.live").glob("*.ome.tif")
    assert np.array_equal(tifffile.imread(movie), MOVIE[:18])
    with tifffile.TiffFile(movie) as file:
        assert 'PhysicalSizeX="0.1"' in file.ome_metadata


def test_what_is_no_better_leaves_the_stream_as_it_is(served: Microscopy, tiny_bundle: Path) -> None:
    with Microscope(served.server.endpoint) as scope:
        of = served.stream(scope.id)
        with pytest.raises(KeyboardInterrupt):
            adapt_live(of, wish(served, "worse", tiny_bundle, steps=10, learning_rate=1e-9, stop_after=1))
        with pytest.raises(NotBetter, match="the adapted network is refused"):
            adapt_live(of, wish(served, "worse", tiny_bundle))  # goes on with the same frames
        assert of.server.streams()[scope.id].model == "tiny"
        results = scope.stop()
    assert {result.model_sha256 for result in results} == {read_bundle(tiny_bundle).sha256}
    assert not list(served.bundles.glob("worse*"))


def _other_recordings(of: StreamOfServer, tmp_path: Path) -> StreamOfServer:
    return StreamOfServer(server=of.server, stream=of.stream, recordings=tmp_path)


def _no_operator(of: StreamOfServer, tmp_path: Path) -> StreamOfServer:
    server = type(of.server)(of.server.address, "a" * 43)
    return StreamOfServer(server=server, stream=of.stream, recordings=of.recordings)


def _unknown_stream(of: StreamOfServer, tmp_path: Path) -> StreamOfServer:
    return StreamOfServer(server=of.server, stream="nobody", recordings=of.recordings)


REFUSED: dict[str, tuple[dict[str, Any], Callable[..., StreamOfServer] | None, type[Exception], str]] = {
    "unknown": ({}, _unknown_stream, CannotAdapt, "id of an open stream, got 'nobody'; open streams: "),
    "not recorded": ({"save": False}, None, CannotAdapt, "expected a recorded stream"),
    "elsewhere": (
        {},
        _other_recordings,
        CannotAdapt,
        "expected a recording in .* recording.folder as --recordings",
    ),
    "detector": (
        {"offset": 100, "gain": 2.2},
        None,
        CannotAdapt,
        "values of a detector .offset 100, gain 2.2",
    ),
    "camera": ({"movie": camera_values()}, None, NotPhotonCounts, "variance"),
    "no operator": ({}, _no_operator, ServerRefusal, "not_operator"),
}


@pytest.mark.parametrize(("ways", "reached", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_learned_from_is_refused_in_words(
    served: Microscopy,
    tiny_bundle: Path,
    tmp_path: Path,
    ways: dict[str, Any],
    reached: Callable[..., StreamOfServer] | None,
    error: type[Exception],
    words: str,
) -> None:
    with Microscope(served.server.endpoint, **ways) as scope:
        of = served.stream(scope.id)
        with pytest.raises(error, match=words):
            adapt_live(of if reached is None else reached(of, tmp_path), wish(served, "no", tiny_bundle))
    assert not list(served.bundles.glob("no*"))


def test_a_folder_that_the_server_does_not_load_from_is_refused_before_any_work(
    served: Microscopy, tiny_bundle: Path, tmp_path: Path
) -> None:
    elsewhere = LiveWish(out=tmp_path / "new", source=tiny_bundle, first=FIRST)
    with Microscope(served.server.endpoint) as scope, pytest.raises(CannotAdapt, match="bundle_folders"):
        adapt_live(served.stream(scope.id), elsewhere)
    assert list(tmp_path.iterdir()) == []


def test_room_on_the_disk_is_left_for_recordings(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    _require_room(tmp_path, 0)
    with pytest.raises(CannotAdapt, match=r"GB free on the disk of .* free some space"):
        _require_room(tmp_path, free)


def test_it_rests_as_long_as_it_worked_when_it_may_take_half_of_the_time() -> None:
    rest, began = Rests(0.5, threads=1), time.process_time()
    while time.process_time() - began < 0.05:
        pass
    assert 0.05 <= rest() <= LONGEST_S
    assert Rests(1, threads=1)() == 0
    with pytest.raises(ValueError, match="a share above 0 and up to 1"):
        Rests(0, threads=1)


def test_all_threads_of_the_process_take_the_lowest_priority() -> None:
    program = (
        "import os, numpy, torch; from pathlib import Path\n"
        "from dimstream_models.training.adapting.low_priority import yield_to_others\n"
        "torch.ones(9, 9) @ torch.ones(9, 9); print(yield_to_others(1))\n"
        "threads = [int(path.name) for path in Path('/proc/self/task').iterdir()]\n"
        "print({os.getpriority(os.PRIO_PROCESS, one) for one in threads}, torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said, threads = done.stdout.splitlines()
    assert "nice 19" in said
    assert threads == "{19} 1"
