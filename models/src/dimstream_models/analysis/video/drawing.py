"""One picture of a side-by-side movie: panels with the same contrast, scale bar, time, flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dimstream_models.analysis.graph import GraphSettings, tubule_graph
from dimstream_models.analysis.movies import OK
from dimstream_models.analysis.reports.overlays import NODES, coloured, node_places
from dimstream_models.analysis.reports.shown_frames import ShownFrame
from dimstream_models.analysis.scale_bar import scale_bar
from dimstream_models.analysis.video.sources import Contrast, Pictures

BORDER: Final = 6
HEAD: Final = 34
LEAST_SIDE: Final = 480
"""Frames with a smaller side, px, are enlarged by a whole number."""
FLAG_COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    OK: (60, 60, 60),
    "": (60, 60, 60),
    "suspect": (235, 60, 50),
    "unjudged": (240, 200, 40),
}
OTHER_FLAG: Final = (170, 90, 255)
TITLES: Final = {"raw": "raw", "denoised": "denoised", "found": "tubules, sheets, junctions"}


@dataclass(frozen=True)
class Layout:
    """The layout of the pictures of one movie.

    Parameters
    ----------
    shape : (int, int)
        Height and width of a frame, px.
    kinds : tuple of str
        Panels, from left to right.
    pixel_um : float or None
    contrasts : dict of str to Contrast
    graph : GraphSettings
        Settings with which the movie was analysed.
    """

    shape: tuple[int, int]
    kinds: tuple[str, ...]
    pixel_um: float | None
    contrasts: Mapping[str, Contrast]
    graph: GraphSettings

    @property
    def factor(self) -> int:
        """Factor by which frames are enlarged."""
        return max(1, -(-LEAST_SIDE // max(self.shape)))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a picture, px, both even as H.264 requires."""
        height, width = (side * self.factor + 2 * BORDER for side in self.shape)
        return _even(width * len(self.kinds)), _even(height + HEAD)


def draw_pictures(pictures: Pictures, layout: Layout) -> NDArray[np.uint8]:
    """Return one frame as a picture, (H, W, 3) uint8."""
    sheet = Image.new("RGB", layout.size, (0, 0, 0))
    pen = ImageDraw.Draw(sheet)
    height, width = (side * layout.factor + 2 * BORDER for side in layout.shape)
    colour = FLAG_COLOURS.get(pictures.record.flag, OTHER_FLAG)
    for number, kind in enumerate(layout.kinds):
        left = number * width
        pen.rectangle((left, HEAD, left + width - 1, HEAD + height - 1), fill=colour)
        sheet.paste(_panel(pictures, kind, layout), (left + BORDER, HEAD + BORDER))
        text = TITLES[kind]
        if kind == "found" and pictures.labels is None:
            text = "not analysed"
        pen.text((left + BORDER + 2, 5), text, font=_font(20), fill=(255, 255, 255))
    _write_state(pen, pictures, layout)
    _draw_bar(pen, layout, left=BORDER, bottom=HEAD + height - BORDER)
    return np.asarray(sheet)


def time_text(time_s: float | None, number: int) -> str:
    """Return the time of a frame: hours, minutes and seconds, or its number where the time is unknown."""
    if time_s is None:
        return f"frame {number}"
    tenths = round(10 * time_s)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths % 600 / 10:04.1f}"


def _panel(pictures: Pictures, kind: str, layout: Layout) -> Image.Image:
    contrast = layout.contrasts["raw" if kind == "raw" else "denoised"]
    if kind == "found" and pictures.labels is not None:
        return _found_panel(pictures, contrast, layout)
    source = pictures.raw if kind == "raw" else pictures.denoised
    assert source is not None  # `kinds` contains raw only if there is a raw frame
    return _enlarged(Image.fromarray(contrast.grey(source)).convert("RGB"), layout.factor)


def _found_panel(pictures: Pictures, contrast: Contrast, layout: Layout) -> Image.Image:
    assert pictures.labels is not None
    shown = ShownFrame(pictures.record.number, pictures.denoised, pictures.labels)
    graph = tubule_graph(pictures.labels, layout.graph)
    picture = np.rint(255 * coloured(shown, (contrast.black, contrast.white))).astype(np.uint8)
    for *_, data in graph.edges(data=True):
        y, x = np.rint(data["path"].places).astype(int).T
        picture[y, x] = 255
    panel = _enlarged(Image.fromarray(picture), layout.factor)
    pen, radius = ImageDraw.Draw(panel), 1.5 * layout.factor
    for (_, colour, _), places in zip(NODES, node_places(graph), strict=True):
        for y, x in (places + 0.5) * layout.factor:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return panel


def _write_state(pen: ImageDraw.ImageDraw, pictures: Pictures, layout: Layout) -> None:
    """Write time and flag at the right of the header."""
    record = pictures.record
    flag = f"{record.flag}  " if record.flag else ""
    when = time_text(record.time_s, record.number)
    font, right = _font(20), layout.size[0] - BORDER
    pen.text((right, 5), when, font=font, fill=(255, 255, 255), anchor="ra")
    colour = (150, 220, 150) if record.flag == OK else FLAG_COLOURS.get(record.flag, OTHER_FLAG)
    pen.text((right - pen.textlength(when, font=font) - 14, 5), flag, font=font, fill=colour, anchor="ra")


def _draw_bar(pen: ImageDraw.ImageDraw, layout: Layout, *, left: int, bottom: int) -> None:
    bar = scale_bar(layout.shape[1], layout.pixel_um)
    if bar is None:
        return
    end = left + layout.shape[1] * layout.factor - 14
    start = end - round(bar.length_px * layout.factor)
    pen.rectangle((start, bottom - 20, end - 1, bottom - 15), fill=(255, 255, 255))
    middle = (start + end) // 2
    pen.text((middle, bottom - 24), bar.text, font=_font(18), fill=(255, 255, 255), anchor="md")


def _enlarged(image: Image.Image, factor: int) -> Image.Image:
    if factor == 1:
        return image
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _even(number: int) -> int:
    return number + number % 2
