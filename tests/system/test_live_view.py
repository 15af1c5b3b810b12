"""The live view in Debian's Chromium, before a real server: one browser and one stream for all tests."""

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from browsers import browsing
from faults.processes import Server
from numpy.typing import NDArray
from ports import free_port
from shipped import BUNDLE

from dimstream_client import Client
from dimstream_client.messages import Result

pytestmark = pytest.mark.slow

SIDE = 64


class Microscope:
    """Sends frames one by one, and keeps what came back."""

    def __init__(self, client: Client, movie: NDArray[np.uint16]) -> None:
        self._movie = movie
        self.client = client
        self.results: list[Result] = []
        self.stream = client.open((SIDE, SIDE), "uint16", pixel_size_um=0.02, maps=True)

    def frame(self, seq: int) -> NDArray[np.uint16]:
        """A piece of the sample movie; pixel (3, 5) tells its number."""
        frame = self._movie[seq, :SIDE, :SIDE].copy()
        frame[3, 5] = seq
        return frame

    def send(self, count: int) -> None:
        """Have so many frames more denoised."""
        for _ in range(count):
            self.stream.send(self.frame(len(self.results)))
            result = self.stream.take(timeout_s=60)
            assert result is not None
            self.results.append(result)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("live")
    with Server(BUNDLE, folder, http=f"127.0.0.1:{free_port()}", record=folder / "recordings") as running:
        yield running


@pytest.fixture(scope="module")
def microscope(server: Server, sample: Any) -> Iterator[Microscope]:
    with Client(server.endpoint, name="microscope-3") as client:
        yield Microscope(client, sample)


@pytest.fixture(scope="module")
def page(server: Server, microscope: Microscope) -> Iterator[Any]:
    """The page, with four frames of one stream, the last of which is shown."""
    with browsing() as found:
        found.goto(f"{server.http}/live")
        microscope.send(4)
        shows(found, 3)
        yield found


@pytest.fixture(autouse=True)
def at_rest(page: Any) -> Iterator[None]:
    """Whatever a test did, the next one finds the newest frame, whole, side by side."""
    yield
    page.locator("body").click(position={"x": 600, "y": 15})
    for key in ("End", "0", "1"):
        page.keyboard.press(key)


def choose(page: Any, stream: str) -> None:
    """Look at a stream, once the page knows it."""
    page.wait_for_function("id => document.querySelector(`#stream option[value='${id}']`)", arg=stream)
    page.select_option("#stream", stream)


def shows(page: Any, seq: int) -> None:
    """Wait until this frame is shown."""
    page.wait_for_function("seq => document.querySelector('#seq').value === String(seq)", arg=seq)


def pixel(page: Any, canvas: str, x: int, y: int) -> list[int]:
    """The colour, red to alpha, in the middle of an image pixel, when all of the image is shown."""
    script = """([id, x, y, side]) => {
        const canvas = document.getElementById(id);
        const scale = Math.min(canvas.width, canvas.height) / side;
        const at = (place, size) => Math.floor((place + 0.5 - side / 2) * scale + size / 2);
        const context = canvas.getContext("2d");
        return Array.from(context.getImageData(at(x, canvas.width), at(y, canvas.height), 1, 1).data);
    }"""
    return list(page.evaluate(script, [canvas, x, y, SIDE]))


def set_range(page: Any, low: float, high: float, factor: float) -> None:
    for name, value in (("factor", factor), ("low", low), ("high", high)):
        page.fill(f"#{name}", str(value))
        page.locator(f"#{name}").blur()
    next_frame(page)


def next_frame(page: Any) -> None:
    """Wait until what changed was drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def grey(value: float, low: float, high: float) -> list[int]:
    level = int(np.floor(np.clip((value - low) / (high - low), 0, 1) * 255 + 0.5))
    return [level, level, level, 255]


def test_pixels_are_those_that_came_and_went_in_one_contrast(page: Any, microscope: Microscope) -> None:
    low, high, factor = 0.0, 8.0, 20.0
    set_range(page, low, high, factor)
    raw, denoised = microscope.frame(3), microscope.results[3].pixels
    assert denoised is not None
    for x, y in [(5, 3), (0, 0), (63, 63), (20, 40), (31, 32), (50, 10)]:
        assert pixel(page, "raw", x, y) == grey(raw[y, x], low, high), (x, y)
        assert pixel(page, "denoised", x, y) == grey(denoised[y, x], low * factor, high * factor), (x, y)


def test_the_contrast_stays_until_the_button_is_pressed(page: Any, microscope: Microscope) -> None:
    set_range(page, 1, 5, 10)
    microscope.send(1)
    shows(page, len(microscope.results) - 1)
    assert [page.input_value(f"#{name}") for name in ("low", "high", "factor")] == ["1", "5", "10"]
    page.click("#auto")
    next_frame(page)
    assert page.input_value("#low") == "0"
    assert page.input_value("#factor") != "10"


def test_the_flag_is_said_in_words(page: Any, microscope: Microscope) -> None:
    seq = len(microscope.results) - 1
    shows(page, seq)
    assert page.inner_text("#flag").split()[-1] == microscope.results[seq].flag
    page.keyboard.press("Home")
    shows(page, 0)
    first = microscope.results[0]
    assert page.inner_text("#flag").split()[-1] == first.flag
    assert page.inner_text("#reason") == first.reason


def test_values_and_micrometres_under_the_cursor(page: Any, microscope: Microscope) -> None:
    box = page.locator("#raw").bounding_box()
    scale = min(box["width"], box["height"]) / SIDE
    x, y = 40, 21
    page.mouse.move(
        box["x"] + box["width"] / 2 + (x + 0.5 - SIDE / 2) * scale,
        box["y"] + box["height"] / 2 + (y + 0.5 - SIDE / 2) * scale,
    )
    seq = len(microscope.results) - 1
    denoised = microscope.results[seq].pixels
    assert denoised is not None
    wanted = f"x 40 y 21 px 0.800, 0.420 µm raw {microscope.frame(seq)[y, x]} denoised {denoised[y, x]}"
    page.wait_for_function(
        "wanted => document.querySelector('#cursor').innerText.replace(/\\s+/g, ' ') === wanted", arg=wanted
    )


def test_a_click_into_the_timeline_goes_there_and_it_can_follow_again(
    page: Any, microscope: Microscope
) -> None:
    box = page.locator("#timeline").bounding_box()
    page.mouse.click(box["x"] + 104, box["y"] + 40)  # the left end
    shows(page, 0)
    set_range(page, 0, 8, 20)
    assert pixel(page, "raw", 5, 3) == grey(0, 0, 8)
    microscope.send(1)
    page.wait_for_function(
        "count => document.querySelector('#run').innerText.startsWith(`${count} frames`)",
        arg=len(microscope.results),
    )
    assert page.input_value("#seq") == "0"
    assert page.inner_text("#follow") == "follow"
    page.click("#follow")
    shows(page, len(microscope.results) - 1)
    assert page.inner_text("#follow") == "following"


def test_keys(page: Any, microscope: Microscope) -> None:
    last = len(microscope.results) - 1
    page.keyboard.press("ArrowLeft")
    shows(page, last - 1)
    page.keyboard.press("ArrowRight")
    shows(page, last)
    page.keyboard.press("3")
    page.keyboard.press("t")
    page.wait_for_function("() => document.querySelector('#denoised-name').innerText === 'raw'")
    assert not page.is_visible("#raw")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    assert page.is_visible("#raw")


def test_a_frame_that_there_is_not_is_named(page: Any) -> None:
    for typed in ("12345.5", "-3"):
        page.fill("#seq", typed)
        page.locator("#seq").blur()
    shows(page, 0)
    page.fill("#seq", "12345")
    page.locator("#seq").blur()
    page.wait_for_function("() => window.dimstream.missing.includes('12345')")
    assert page.evaluate("document.body.dataset.connection") == "open"


def test_zoom_is_that_of_both_images(page: Any) -> None:
    set_range(page, 0, 8, 20)
    before = page.inner_text("#zoom")
    box = page.locator("#raw").bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.mouse.wheel(0, -300)
    page.wait_for_function("before => document.querySelector('#zoom').innerText !== before", arg=before)
    page.mouse.dblclick(box["x"] + 30, box["y"] + 30)
    page.wait_for_function("before => document.querySelector('#zoom').innerText === before", arg=before)


def test_the_support_map_lies_over_the_prediction(page: Any, microscope: Microscope) -> None:
    support = microscope.results[-1].support
    assert support is not None
    set_range(page, 1e6, 2e6, 1)  # all black below
    page.keyboard.press("m")
    y, x = np.argwhere(support & 4)[0]
    unsupported, supported = [0xE6, 0x9F, 0x00], [0x56, 0xB4, 0xE9]
    wanted = unsupported if support[y, x] & 8 else supported
    page.wait_for_function("() => window.dimstream.hasSupport")
    next_frame(page)
    colour = pixel(page, "denoised", int(x), int(y))[:3]
    assert colour == pytest.approx([0.45 * each for each in wanted], abs=2)
    page.keyboard.press("m")


def test_a_region_is_followed(page: Any, microscope: Microscope) -> None:
    page.keyboard.press("r")
    box = page.locator("#raw").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] + 50, steps=3)
    page.mouse.up()
    page.wait_for_selector("#unmark")
    page.wait_for_function("() => window.dimstream.traces.size >= 4")
    microscope.send(1)
    page.wait_for_function("count => window.dimstream.traces.size === count", arg=len(microscope.results))
    page.click("#unmark")


def test_a_picture_a_tiff_and_a_movie_can_be_kept(page: Any, microscope: Microscope, tmp_path: Path) -> None:
    seq = len(microscope.results) - 1
    shows(page, seq)
    kept = {}
    for what, ending in (("snapshot", ".png"), ("tiff", ".ome.tif"), ("movie", ".webm")):
        with page.expect_download() as download:
            page.click(f"#{what}")
        assert download.value.suggested_filename.endswith(f"-{seq}{ending}")
        kept[what] = tmp_path / what
        download.value.save_as(kept[what])
    assert tifffile.imread(kept["tiff"], series=0).tolist() == microscope.frame(seq).tolist()
    assert imagecodecs.png_decode(kept["snapshot"].read_bytes()).shape[2] in (3, 4)
    assert kept["movie"].read_bytes().startswith(bytes.fromhex("1a45dfa3"))  # EBML, as WebM is


def test_a_plane_is_chosen_where_there_are_several(page: Any, microscope: Microscope) -> None:
    stack = microscope.client.open((32, 48), "uint16")
    for seq in range(4):
        stack.send(np.full((32, 48), seq + 1, np.uint16), index={"t": seq // 2, "z": seq % 2})
        assert stack.take(timeout_s=60) is not None
    choose(page, stack.opened.stream)
    shows(page, 2)  # z 0
    page.select_option("#z", "1")
    shows(page, 3)
    page.keyboard.press("ArrowLeft")
    shows(page, 1)  # the frame before of this plane
    stack.close()
    choose(page, microscope.stream.opened.stream)
    shows(page, len(microscope.results) - 1)


def test_all_streams_on_one_page(page: Any, microscope: Microscope) -> None:
    other = microscope.client.open((48, 32), "uint16")
    other.send(np.random.default_rng(0).poisson(2.0, (48, 32)).astype(np.uint16))
    assert other.take(timeout_s=60) is not None
    page.keyboard.press("4")
    page.wait_for_function("() => document.querySelectorAll('.tile[data-flag]').length >= 2")
    other.close()
    page.locator(".tile").filter(has_text=microscope.stream.opened.stream[:6]).click()
    shows(page, len(microscope.results) - 1)
    assert page.is_visible("#raw")


def test_it_fits_on_a_screen_of_1280_pixels(page: Any) -> None:
    script = """() => [document.documentElement.scrollWidth, ...Array.from(
        document.querySelectorAll("button, input, select, canvas"),
        (one) => one.offsetParent === null ? 0 : one.getBoundingClientRect().right)]"""
    assert max(page.evaluate(script)) <= 1280
    assert page.evaluate("document.querySelector('aside').scrollWidth") <= 272


# What people without green or without red cones see of linear RGB (Machado, Oliveira, Fernandes 2009,
# 10.1109/TVCG.2009.113, severity 1).
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_flags_are_told_apart_by_colour_blind_people(page: Any, kind: str) -> None:
    colour = pytest.importorskip("skimage.color")
    script = "import('/live/assets/timeline.js').then((module) => module.FLAG_COLOURS)"
    colours = page.evaluate(script)
    seen = {}
    for flag, text in colours.items():
        rgb = np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        linear = np.clip(np.array(BLINDNESS[kind]) @ rgb**2.2, 0, 1)
        seen[flag] = colour.rgb2lab(linear ** (1 / 2.2))
    for other in ("ok", "unjudged", "failed"):
        assert np.linalg.norm(seen["suspect"] - seen[other]) > 25, other


def test_no_script_and_no_picture_comes_from_elsewhere(page: Any, server: Server) -> None:
    names = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert names
    assert all(name.startswith(server.http) for name in names)
    policy = page.request.get(f"{server.http}/live").headers["content-security-policy"]
    assert re.search(r"default-src 'none'", policy)


def test_a_laptop_that_slept_shows_the_newest_frame(page: Any, microscope: Microscope) -> None:
    asleep = processes_below(os.getpid(), named="chrom")
    assert asleep
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    try:
        microscope.send(5)  # more than are on their way to one viewer
    finally:
        for pid in asleep:
            os.kill(pid, signal.SIGCONT)
    shows(page, len(microscope.results) - 1)
    page.wait_for_function("() => document.body.dataset.connection === 'open'")


def processes_below(pid: int, *, named: str) -> list[int]:
    """The processes that this one, or one of its children, has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            name, _, fields = (path / "stat").read_text().partition("(")[2].rpartition(")")
            if int(fields.split()[1]) == pid:
                found += [int(path.name)] if named in name else []
                found += processes_below(int(path.name), named=named)
    return found


def test_a_tab_that_stays_open_does_not_grow(page: Any, microscope: Microscope) -> None:
    inspector = page.context.new_cdp_session(page)

    def held() -> dict[str, float]:
        inspector.send("HeapProfiler.collectGarbage")
        found = inspector.send("Performance.getMetrics")["metrics"]
        return {one["name"]: one["value"] for one in found}

    def send(count: int) -> None:
        microscope.send(count)
        shows(page, len(microscope.results) - 1)
        next_frame(page)

    inspector.send("Performance.enable")
    send(4)  # what is made once is there
    before = held()
    send(16)
    after = held()
    for name, most in {"Nodes": 40, "JSEventListeners": 0, "Documents": 0, "JSHeapUsedSize": 2**18}.items():
        assert after[name] - before[name] <= most, name  # 16 frames hold 512 KiB of pixels
    inspector.detach()


def test_a_server_that_says_nothing_is_named_and_it_goes_on_afterwards(
    page: Any, server: Server, microscope: Microscope
) -> None:
    server.freeze()
    try:
        page.wait_for_function("() => document.querySelector('#banner').innerText.includes('no connection')")
    finally:
        server.thaw()
    microscope.send(1)
    shows(page, len(microscope.results) - 1)
    page.wait_for_function("() => document.body.dataset.connection === 'open'")


def test_it_goes_on_when_the_server_was_killed(
    page: Any, server: Server, microscope: Microscope, eventually: Callable[..., None]
) -> None:
    server.kill()
    page.wait_for_function("() => document.querySelector('#banner').innerText.includes('no connection')")
    page.wait_for_function("() => document.title.startsWith('no connection')")
    server.start()
    microscope.send(2)
    shows(page, len(microscope.results) - 1)
    page.wait_for_function("() => document.body.dataset.connection === 'open'")
    set_range(page, 0, 8, 20)
    expected = grey(min(8, len(microscope.results) - 1), 0, 8)
    eventually(lambda: pixel(page, "raw", 5, 3) == expected)  # the number comes before the pixels
