"""Step sizes along the axes, and the spellings of units of length and time."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

SQUARE: Final = 0.01  # sides of a pixel that differ by less than this fraction are equal
PRINTED_UM: Final = 10.0  # a coarser resolution tag is for printing

_MICROMETRES: Final[Mapping[str, float]] = {
    **dict.fromkeys(("um", "µm", "mic", "micron", "microns", "micrometer", "micrometers"), 1.0),
    **dict.fromkeys(("micrometre", "micrometres", "micro meter", "micro-meter"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-3),
    **dict.fromkeys(("pm", "picometer", "picometers", "picometre", "picometres"), 1e-6),
    **dict.fromkeys(("å", "angstrom", "angstroms", "ångström"), 1e-4),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 1e4),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e6),
    **dict.fromkeys(("in", "inch", "inches", '"'), 25_400.0),
}
_SECONDS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("s", "sec", "sec.", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("µs", "us", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}


@dataclass(frozen=True)
class Scale:
    """Step sizes along the axes; None if unknown.

    Parameters
    ----------
    pixel_size_um : tuple of float, optional
        Sides of a pixel along (x, y) in micrometres.
    z_step_um, frame_interval_s : float, optional
    channels : tuple of str
        Names of the channels; empty if not all have one.
    """

    pixel_size_um: tuple[float, float] | None = None
    z_step_um: float | None = None
    frame_interval_s: float | None = None
    channels: tuple[str, ...] = ()

    @property
    def square_pixel_um(self) -> float | None:
        """Side of a square pixel in micrometres; None if pixels are not square or the size is unknown."""
        if self.pixel_size_um is None:
            return None
        x, y = self.pixel_size_um
        if max(x, y) > (1 + SQUARE) * min(x, y):
            return None
        return x if x == y else nine_digits((x + y) / 2)

    def filled(self, other: Scale) -> Scale:
        """Return this scale, with missing values from another one."""
        return Scale(
            self.pixel_size_um or other.pixel_size_um,
            self.z_step_um or other.z_step_um,
            self.frame_interval_s or other.frame_interval_s,
            self.channels or other.channels,
        )


def micrometres(unit: object) -> float | None:
    """Return the micrometres of a unit of length; None for other or unknown units (``pixel``)."""
    return _MICROMETRES.get(plain_unit(unit))


def seconds(unit: object) -> float | None:
    """Return the seconds of a unit of time; None for other or unknown units (``frame``)."""
    return _SECONDS.get(plain_unit(unit))


def plain_unit(unit: object) -> str:
    """Return a unit in lower case with one form of the micro sign, also if it was escaped or damaged."""
    text = str(unit).strip().strip("\0'").strip()
    text = re.sub(r"\\+[uU]([0-9a-fA-F]{4})", lambda match: chr(int(match.group(1), 16)), text)
    text = re.sub(r"\\+x([0-9a-fA-F]{2})", lambda match: chr(int(match.group(1), 16)), text)
    if "%" in text:
        text = _decoded(unquote_to_bytes(text))
    text = html.unescape(text)
    for _ in range(2):  # UTF-8 that was read as Latin-1, and written as UTF-8 again
        repaired = _repaired(text)
        if repaired == text:
            break
        text = repaired
    return text.replace("\N{GREEK SMALL LETTER MU}", "µ").replace("\N{ANGSTROM SIGN}", "å").strip().lower()


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _repaired(text: str) -> str:
    if text.isascii():
        return text
    for codec in ("latin-1", "cp1252", "mac_roman"):
        try:
            return text.encode(codec).decode()
        except UnicodeError:
            continue
    return text


def nine_digits(value: float) -> float:
    """Return the value rounded to nine digits, without rounding errors of unit conversions."""
    return float(f"{value:.9g}")


def positive(value: Any, factor: float | None = 1.0) -> float | None:
    """Return `value` * `factor` if it is a finite number above 0; else None."""
    try:
        number = float(value) * float("nan" if factor is None else factor)
    except (TypeError, ValueError, OverflowError):
        return None
    return nine_digits(number) if 0 < number < math.inf else None


def magnitude(value: Any, factor: float | None = 1.0) -> float | None:
    """Return the same for the absolute value of a step whose sign is only its direction."""
    try:
        return positive(abs(float(value)), factor)
    except (TypeError, ValueError):
        return None


def pair(x: float | None, y: float | None) -> tuple[float, float] | None:
    """Return both sides of a pixel; None unless both are known."""
    return None if x is None or y is None else (x, y)


def of_resolution(x_per_unit: float | None, y_per_unit: float | None, unit: int) -> Scale:
    """Return the scale of a TIFF's resolution tags; resolutions for printing are ignored."""
    per_unit_um = {2: 25_400.0, 3: 10_000.0}.get(unit)
    if per_unit_um is None or not x_per_unit or not y_per_unit:
        return Scale()
    size = pair(positive(per_unit_um / x_per_unit), positive(per_unit_um / y_per_unit))
    return Scale(size if size is not None and max(size) < PRINTED_UM else None)
