"""Figures of the ER in the live view, in Debian's Chromium: curves, marks, and how far the analysis is."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import browsing
from faults.processes import Server
from shipped import BUNDLE

from dimstream_client import Client

pytestmark = pytest.mark.slow

SIDE = 128
PIXEL_UM = 0.02
FRAMES = 12
LENGTHS_PX = {1: 100.0, 2: 150.0, 4: 200.0, 7: 250.0, 9: 300.0, 11: 350.0}  # of the frames that were analysed


def send_figures(server: Server, stream: str, seq: int, length_px: float) -> None:
    figures = {"tubule_length": length_px, "junctions": 2 * seq, "foreground": 0.25, "assortativity": -0.5}
    body = {"seq": seq, "plane": [0, 0, 0], "analysis": "drawn by hand", "figures": figures}
    request = urllib.request.Request(
        f"{server.http}/v1/streams/{stream}/figures",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["seq"] == seq


def lane_colours(page: Any, lanes: int) -> list[set[str]]:
    """The colours in each of the last lanes of the timeline."""
    script = """(lanes) => {
        const canvas = document.getElementById("timeline");
        const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const hex = (at) => "#" + [0, 1, 2].map((i) => data[at + i].toString(16).padStart(2, "0")).join("");
        const height = canvas.height / (canvas.clientHeight / 44);
        return Array.from({ length: lanes }, (_, lane) => {
            const found = new Set();
            const from = Math.floor(canvas.height - (lanes - lane) * height + 6);
            for (let y = from; y < from + height - 8; y++)
                for (let x = 110; x < width - 14; x++) found.add(hex(4 * (y * width + x)));
            return [...found];
        });
    }"""
    return [set(colours) for colours in page.evaluate(script, lanes)]


def test_curves_marks_and_words(tmp_path: Path, sample: Any) -> None:
    with (
        Server(BUNDLE, tmp_path) as server,
        Client(server.endpoint, name="microscope-3") as client,
        browsing() as page,
    ):
        stream = client.open((SIDE, SIDE), "uint16", pixel_size_um=PIXEL_UM)
        flags = []
        page.goto(f"{server.http}/live")
        for seq in range(FRAMES):
            is_dark = 6 <= seq < 9
            stream.send(np.zeros((SIDE, SIDE), np.uint16) if is_dark else sample[seq, :SIDE, :SIDE])
            result = stream.take(timeout_s=60)
            assert result is not None
            flags.append(result.flag)
        page.wait_for_function("n => document.querySelector('#seq').value === String(n)", arg=FRAMES - 1)
        assert page.is_hidden("#er")
        plain = page.evaluate("document.querySelector('#timeline').clientHeight")
        for seq, length in LENGTHS_PX.items():
            send_figures(server, stream.id, seq, length)
        page.wait_for_function(
            "() => window.dimstream.er.rows.count === 6 && window.dimstream.er.known.length"
        )
        page.wait_for_function("() => document.querySelector('#analysis').innerText.includes('frame 11,')")
        assert page.inner_text("#analysis").endswith(f"6 of {FRAMES} frames")
        assert page.evaluate("document.querySelector('#timeline').clientHeight") == plain + 88

        for name in ("foreground", "tubule_length", "assortativity"):  # one less, two more
            page.select_option("#curve", name)
        page.wait_for_function("() => 'assortativity' in window.dimstream.er.rows.columns")
        assert page.evaluate("window.dimstream.er.chosen") == ["junctions", "tubule_length", "assortativity"]
        titles = page.eval_on_selector_all("#curve option", "all => all.map((one) => one.text)")
        assert "✓ Length of all tubules, µm" in titles
        assert "Mean area of gaps, µm²" in titles

        assert "suspect" in {flags[seq] for seq in LENGTHS_PX}
        box = page.locator("#timeline").bounding_box()
        for seq, length in LENGTHS_PX.items():  # read back where a person would
            x = 98 + seq / (FRAMES - 1) * (box["width"] - 98 - 12)
            page.mouse.move(box["x"] + x, box["y"] + 60)
            said = f"Length of all tubules, µm {length * PIXEL_UM:g}"
            page.wait_for_function(
                "said => document.querySelector('#er-under').innerText.includes(said)", arg=said
            )
        curve = page.evaluate(
            """() => {
                const { rows, er } = window.dimstream;
                const shown = Array.from({ length: rows.count }, (_, row) => row);
                const { values, breaks, marks } = er.curve("junctions", rows, shown, null);
                const numbers = (of) => Array.from(of, (value) => (Number.isNaN(value) ? null : value));
                const found = Object.entries(marks).map(([flag, of]) => [flag, numbers(of)]);
                return { values: numbers(values), breaks: [...breaks], marks: Object.fromEntries(found) };
            }"""
        )
        for seq in range(FRAMES):
            value, is_ok = (2.0 * seq if seq in LENGTHS_PX else None), flags[seq] == "ok"
            assert curve["values"][seq] == (value if is_ok else None)
            if value is not None and not is_ok:
                assert curve["marks"][flags[seq]][seq] == value
                assert curve["breaks"][seq] == 1
        page.mouse.move(640, 200)
        lanes = lane_colours(page, 3)
        for colours, own in zip(lanes, ("#009e73", "#cc79a7", "#56b4e9"), strict=True):
            assert own in colours
            assert "#e69f00" in colours  # the suspect frame's mark
        script = (
            "Array.from(document.querySelectorAll('footer *'), (one) => one.getBoundingClientRect().right)"
        )
        assert max(page.evaluate(script)) <= 1280
        stream.close()
