"""The proposed crop of a denoised z-stack as a line of text."""

from __future__ import annotations

from pathlib import Path

from dimstream_client.errors import RecordError
from dimstream_client.quality import Thresholds
from dimstream_client.volumes.judging import SHARE_OF_TIMES, Series, VolumeReport, judge_volumes
from dimstream_client.volumes.plane_records import read_records


def crop_line(series: Series, *, several: bool) -> str:
    """Return the proposal for one channel and position, which are named if there are several."""
    which = f"channel {series.c}, position {series.p}: " if several else ""
    crop = series.crop
    if crop is None:
        return f"{which}no plane of {len(series.planes)} is trusted{_over(series)}"
    parts = [f"{which}keep z {crop.first} to {crop.last} of {_depth(series)}{_over(series)}"]
    if crop.untrusted:
        parts.append(f"inside, not trusted: z {_numbers(crop.untrusted)}")
    if crop.left_out:
        parts.append(f"trusted, but apart: z {_numbers(crop.left_out)}")
    return "; ".join(parts)


def stream_line(flags: Path, thresholds: Thresholds) -> str:
    """Return a line about the planes of a streamed z-stack that can be trusted, from its flags.

    Parameters
    ----------
    flags : Path
        JSON lines of `dimstream stream`.
    thresholds : Thresholds
        Thresholds of the stream.

    Raises
    ------
    OSError
    """
    try:
        report = judge_volumes(read_records(flags), thresholds)
    except (ValueError, RecordError) as error:
        return f"volume: not judged ({error}); see dimstream view"
    return f"volume: {_trusted(report)}; see dimstream view"


def rules(thresholds: Thresholds) -> str:
    """Return the thresholds for planes as text."""
    ssim, split = ("none" if one is None else f"{one:g}" for one in (thresholds.ssim, thresholds.split))
    return f"ssim {ssim}, structure score {thresholds.structure_score:g}, split {split}"


def _trusted(report: VolumeReport) -> str:
    first = report.series[0]
    where = _over(first) + (" in all channels and positions" if len(report.series) > 1 else "")
    crop = report.shared_crop()
    if crop is None:
        return f"no plane of {len(first.planes)} can be trusted{where}"
    but = f", but for {_numbers(crop.untrusted)}" if crop.untrusted else ""
    return f"planes {crop.first} to {crop.last} of {_depth(first)} can be trusted{where}{but}"


def _depth(series: Series) -> str:
    return f"{series.planes[0]} to {series.planes[-1]}"


def _over(series: Series) -> str:
    return f" in at least {SHARE_OF_TIMES:.0%} of the {series.times} time points" if series.times > 1 else ""


def _numbers(planes: tuple[int, ...]) -> str:
    return ", ".join(map(str, planes))
