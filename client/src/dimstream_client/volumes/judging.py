"""Find the planes of denoised z-stacks that can be trusted, and propose a crop to these planes.

At the ends of a z-stack the sample ends, and predicted structures there are not real. The paper therefore
crops peripheral frames (Methods, "Post processing volumetric data"). `docs/volumes.md` explains the rule to
users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from dimstream_client.errors import RecordError
from dimstream_client.quality import Thresholds
from dimstream_client.volumes.plane_records import PlaneRecord, index_of, plane_of

__all__ = [
    "Crop",
    "Plane",
    "Series",
    "Volume",
    "VolumeReport",
    "judge_volumes",
    "propose_crop",
]

UNTRUSTED_PLANES: Final = 1
"""Largest number of consecutive untrusted planes within a crop."""
SHARE_OF_TIMES: Final = 0.9
"""Fraction of the time points in which a plane must be trusted to be in the crop of the series."""


@dataclass(frozen=True)
class Plane(PlaneRecord):
    """One plane of a z-stack: its figures, and whether it is trusted.

    Parameters
    ----------
    ssim_below : float or None
        SSIM with the prediction of z + 1 at the same time; None if not compared.
    why_not : str or None
        Why it is not trusted; None if it is.
    """

    ssim_below: float | None
    trusted: bool
    why_not: str | None


@dataclass(frozen=True)
class Crop:
    """Planes to keep.

    Parameters
    ----------
    first, last : int
        First and last kept plane; both are trusted.
    untrusted : tuple of int
        Untrusted planes between them; they are reported, not removed.
    left_out : tuple of int
        Trusted planes outside, which are too far from the others.
    """

    first: int
    last: int
    untrusted: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()

    def keeps(self, z: int) -> bool:
        """Return whether plane `z` is in the crop and trusted."""
        return self.first <= z <= self.last and z not in self.untrusted


@dataclass(frozen=True)
class Volume:
    """The z-stack of one time point, channel and position; `crop` is None when no plane is trusted."""

    t: int
    c: int
    p: int
    crop: Crop | None
    planes: tuple[Plane, ...]


@dataclass(frozen=True)
class Series:
    """The z-stacks of one channel and position over time.

    Parameters
    ----------
    times : int
        Number of time points.
    planes : tuple of int
        The existing z.
    trusted_share : tuple of float
        Fraction of the time points in which each of `planes` is trusted.
    crop : Crop or None
        Common crop of all time points, to planes that are trusted in at least `SHARE_OF_TIMES` of them.
    """

    c: int
    p: int
    times: int
    planes: tuple[int, ...]
    trusted_share: tuple[float, ...]
    crop: Crop | None

    def kept(self, depth: int) -> list[bool]:
        """Return, for each of `depth` planes, whether the crop keeps it."""
        return [self.crop is not None and self.crop.keeps(z) for z in range(depth)]


@dataclass(frozen=True)
class VolumeReport:
    """Report on the z-stacks of a file."""

    thresholds: Thresholds
    series: tuple[Series, ...]
    volumes: tuple[Volume, ...]

    def of(self, c: int, p: int) -> Series | None:
        """Return the series of a channel and position; None if no frame was recorded."""
        return next((one for one in self.series if (one.c, one.p) == (c, p)), None)

    def shared_crop(self) -> Crop | None:
        """Return the crop that all channels and positions share; None if there is none.

        A file has one length along z. Untrusted planes are those of any channel and position.
        """
        crops = [one.crop for one in self.series if one.crop is not None]
        if not crops or len(crops) < len(self.series):
            return None
        first, last = max(one.first for one in crops), min(one.last for one in crops)
        untrusted = sorted({z for one in crops for z in one.untrusted if first <= z <= last})
        return Crop(first, last, tuple(untrusted)) if first <= last else None

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return asdict(self)


def judge_volumes(records: Iterable[Mapping[str, Any]], thresholds: Thresholds) -> VolumeReport:
    """Return the trusted planes, and the crop of each z-stack and each series.

    Parameters
    ----------
    records : iterable of mapping
        One for each frame, as `dimstream stream` writes them: ``index``, ``flag``, ``reason``, and
        ``quality`` where the frame has a result. The frames of the HTTP report are the same.
    thresholds : Thresholds
        Thresholds of SSIM with a neighbour in depth, of the structure score and of the split-photon check.

    Raises
    ------
    RecordError
        When they are not such records, contain one plane twice, or are of a movie without z.

    ValueError
        When there is no threshold of SSIM.
    """
    if thresholds.ssim is None:
        raise ValueError("expected a threshold `ssim`, and the model has none; give --ssim")
    stacks = _stacks(records)
    volumes = tuple(_volume(place, planes, thresholds) for place, planes in sorted(stacks.items()))
    places: dict[tuple[int, int], list[Volume]] = {}
    for volume in volumes:
        places.setdefault((volume.c, volume.p), []).append(volume)
    series = tuple(_series(c, p, of_place) for (c, p), of_place in sorted(places.items()))
    return VolumeReport(thresholds, series, volumes)


def propose_crop(trusted: Iterable[int]) -> Crop | None:
    """Return the longest run of trusted planes, given by their z; None if there are none.

    A run can contain up to `UNTRUSTED_PLANES` consecutive untrusted planes. The longest run has the most
    trusted planes; of several, the first is returned.
    """
    runs: list[list[int]] = []
    ordered = sorted(set(trusted))
    for z in ordered:
        if runs and z - runs[-1][-1] <= UNTRUSTED_PLANES + 1:
            runs[-1].append(z)
        else:
            runs.append([z])
    if not runs:
        return None
    longest = max(runs, key=len)
    first, last, kept = longest[0], longest[-1], set(longest)
    untrusted = tuple(z for z in range(first, last) if z not in kept)
    return Crop(first, last, untrusted, tuple(z for z in ordered if z not in kept))


def _stacks(records: Iterable[Mapping[str, Any]]) -> dict[tuple[int, int, int], list[PlaneRecord]]:
    """Planes by (t, c, p), each in the order of z."""
    found: dict[tuple[int, int, int], dict[int, PlaneRecord]] = {}
    for record in records:
        at = index_of(record)
        stack = found.setdefault((at.t, at.c, at.p), {})
        if at.z in stack:
            raise RecordError(f"expected one record for each plane, got two for {at}; stream the stack again")
        stack[at.z] = plane_of(record)
    if not any(len(stack) > 1 for stack in found.values()):
        raise RecordError(
            "expected the records of a z-stack, with several planes at one time point, got "
            f"{len(found)} single planes; stream a z-stack that was saved as a movie with --axes ZYX"
        )
    return {place: [stack[z] for z in sorted(stack)] for place, stack in found.items()}


def _volume(place: tuple[int, int, int], records: Sequence[PlaneRecord], thresholds: Thresholds) -> Volume:
    above = {record.z: record.ssim_above for record in records}
    planes = tuple(_judged(record, above.get(record.z + 1), thresholds) for record in records)
    return Volume(*place, propose_crop(plane.z for plane in planes if plane.trusted), planes)


def _judged(record: PlaneRecord, below: float | None, thresholds: Thresholds) -> Plane:
    why_not = _why_not(record, below, thresholds)
    return Plane(**vars(record), ssim_below=below, trusted=why_not is None, why_not=why_not)


def _why_not(plane: PlaneRecord, below: float | None, thresholds: Thresholds) -> str | None:
    """Return why a plane is not trusted, from the first rule that it fails; None if it fails none."""
    if plane.structure_score is None:
        return f"no result: {plane.reason or 'none is recorded'}"
    if plane.structure_score < thresholds.structure_score:
        return f"no structure: score {plane.structure_score:.1f} below {thresholds.structure_score:g}"
    if plane.flag == "suspect":
        return f"suspect: {plane.reason}"
    if plane.split_ssim is not None and thresholds.split is not None:
        if plane.split_ssim >= thresholds.split:
            return None
        return f"the halves of its photons disagree: SSIM {plane.split_ssim:.2f} below {thresholds.split:g}"
    known = [ssim for ssim in (plane.ssim_above, below) if ssim is not None]
    if not known:  # then the comparison in time decides
        return None if plane.flag == "ok" else "nothing confirms it: it was compared with no other frame"
    least = thresholds.ssim
    assert least is not None  # ensured by `judge_volumes`
    if max(known) >= least:
        return None
    return f"unlike its neighbours in depth: SSIM {max(known):.2f} below {least:g}"


def _series(c: int, p: int, stacks: Sequence[Volume]) -> Series:
    trusted = Counter(plane.z for volume in stacks for plane in volume.planes if plane.trusted)
    depth = tuple(sorted({plane.z for volume in stacks for plane in volume.planes}))
    share = tuple(trusted[z] / len(stacks) for z in depth)
    crop = propose_crop(z for z, part in zip(depth, share) if part >= SHARE_OF_TIMES)
    return Series(c, p, len(stacks), depth, share, crop)
