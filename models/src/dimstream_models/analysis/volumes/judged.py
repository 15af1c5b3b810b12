"""Which planes and time points are kept: from the file that `dimstream view` writes, or from the user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from dimstream_models.analysis.errors import InvalidResults


@dataclass(frozen=True)
class Kept:
    """The planes that are kept, and the time points in which they can be trusted.

    Parameters
    ----------
    first, last : int
        First and last plane that are kept.
    untrusted : tuple of int
        Planes between them that are not trusted; they are kept.
    not_trusted : tuple of int
        Time points in which no plane is trusted.
    by : str
        Who decided this.
    """

    first: int
    last: int
    untrusted: tuple[int, ...] = ()
    not_trusted: tuple[int, ...] = ()
    by: str = "the user"

    def text(self) -> str:
        """Return the kept planes and time points as text."""
        untrusted = (
            f", among them not trusted: {', '.join(map(str, self.untrusted))}" if self.untrusted else ""
        )
        times = ", ".join(map(str, self.not_trusted))
        left = f"; time points in which no plane is trusted: {times}" if times else ""
        return f"planes {self.first} to {self.last} by {self.by}{untrusted}{left}"


class _Part(BaseModel):
    """Part of a report of another program, which may contain further keys."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Crop(_Part):
    first: int
    last: int
    untrusted: tuple[int, ...] = ()


class _Series(_Part):
    c: int
    p: int
    crop: _Crop | None


class _Volume(_Part):
    t: int
    c: int
    p: int
    crop: _Crop | None


class _Report(_Part):
    series: tuple[_Series, ...]
    volumes: tuple[_Volume, ...]


def read_judged(path: Path, *, channel: int = 0, position: int = 0) -> Kept:
    """Return the planes and time points that `NAME.volume.json` proposes for one channel and position.

    Raises
    ------
    InvalidResults
        When there is no such file, or none of these planes is trusted.
    """
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidResults(
            f"{path}: expected a file that states which planes can be trusted, but there is none: write it "
            "with `dimstream view`, or name the planes to keep (--planes)"
        ) from error
    except ValidationError as error:
        raise InvalidResults(
            f"{path}: expected the file that `dimstream view` writes, got {error.error_count()} faults, the"
            f" first at {error.errors()[0]['loc']}"
        ) from error
    place = (channel, position)
    crop = next((one.crop for one in report.series if (one.c, one.p) == place), None)
    if crop is None:
        raise InvalidResults(
            f"{path}: expected planes to keep of channel {channel}, position {position}, got none: no plane"
            " can be trusted"
        )
    bad = tuple(one.t for one in report.volumes if (one.c, one.p) == place and one.crop is None)
    return Kept(crop.first, crop.last, crop.untrusted, bad, by=path.name)
