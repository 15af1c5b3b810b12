"""A bundle adapted to a running stream.

The frames are read from the server's recording, and the server is controlled by HTTP, so it never waits. All
work is done in `OUT.live` next to the new bundle, so that a stopped run can continue.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dimstream_models.bundle import Bundle, BundleError, read_bundle
from dimstream_models.shipped import shipped_bundle
from dimstream_models.training.adapting.adaptation import Wanted, adapt, bundle_id
from dimstream_models.training.adapting.changing_model import (
    StreamOfServer,
    open_stream,
    put_in_force,
    recording_of,
)
from dimstream_models.training.adapting.growing_recording import (
    FirstFrames,
    GrowingRecording,
    RecordedFrame,
)
from dimstream_models.training.adapting.running_server import InForce, RunningServer
from dimstream_models.training.adapting.stored_movies import FEWEST_FRAMES
from dimstream_models.training.errors import CannotAdapt, NotBetter, NotPhotonCounts, ServerRefusal

DESCRIPTION: Final = "bioimageio.yaml"
POLL_S: Final = 1.0
BUNDLE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", re.ASCII)
COPIES: Final = 3.0
"""Bytes written, in multiples of the frames' bytes: the movie, its training photons, and other photons."""
LEFT_FREE: Final = 2 * 2**30
"""Bytes that must remain free on the disk: twice the default at which recordings stop."""


@dataclass(frozen=True, kw_only=True)
class LiveWish:
    """Settings of the adaptation to a stream.

    Parameters
    ----------
    out : Path
        Folder of the new bundle, directly inside one of the server's `server.bundle_folders`.
    source : Path or None
        Bundle that serves the stream; None: searched next to `out`, and among the shipped ones.
    first : FirstFrames
        The frames to train on.
    wanted : Wanted
        Duration and settings of the training.
    """

    out: Path
    source: Path | None = None
    first: FirstFrames = field(default_factory=FirstFrames)
    wanted: Wanted = field(default_factory=Wanted)


def adapt_live(of: StreamOfServer, wish: LiveWish) -> InForce:
    """Adapt the model of a running stream to its first frames, and use it for its next frames.

    Raises
    ------
    CannotAdapt
        When the stream is not open or not recorded, or adaptation to its frames or of its bundle is
        impossible; nothing was changed.
    NotPhotonCounts, InvalidPairs
        When its frames do not contain photon counts; nothing was changed.
    NotBetter
        When the acceptance test refuses the network; nothing was changed, and nothing is kept.
    NotInForce
        When the server or the stream no longer accepts the new bundle; the bundle is kept.
    ServerRefusal
        When the server does not answer; nothing was changed.
    KeyboardInterrupt
        When it was stopped; the same call continues.
    """
    stream = open_stream(of)
    recording, served = recording_of(of, stream), of.server.models()
    present = served[stream.model].sha256
    if wish.out.exists():
        return put_in_force(of, _made_before(wish.out, present), present, recording)
    if not BUNDLE_NAME.fullmatch(wish.out.name):
        raise CannotAdapt(
            f"--out {wish.out}: expected a name of letters, digits, '.', '_' and '-', because servers load "
            "bundles by name"
        )
    recording.require_photons()
    source = _source(wish, present)
    if (new := bundle_id(wish.out, source)) in served:
        raise CannotAdapt(f"--out {wish.out}: a model {new!r} is served already: give another name")
    _make(of, wish, source, recording)
    return put_in_force(of, read_bundle(wish.out), present, recording)


def work_folder(out: Path) -> Path:
    """Return the folder that holds a run until the decision."""
    return out.with_name(f"{out.name}.live")


def _made_before(out: Path, present: str) -> Bundle:
    """Return the bundle of an earlier run whose bundle could not be used."""
    bundle = read_bundle(out)
    made = None if bundle.config is None else bundle.config.provenance
    starts = (
        () if made is None else tuple(sha for name, sha in made.data.items() if name.startswith("start "))
    )
    if bundle.sha256 == present:
        raise CannotAdapt(f"the stream already uses {bundle.id} ({present[:12]}): give --undo to go back")
    if present not in starts:
        raise CannotAdapt(
            f"--out {out} exists, but was not adapted from the model of this stream ({present[:12]}): give "
            "another name"
        )
    return bundle


def _source(wish: LiveWish, sha256: str) -> Bundle:
    """Return the bundle whose weights serve the stream."""
    looked = [wish.source] if wish.source else [*_bundles_in(wish.out.parent), shipped_bundle()]
    for path in looked:
        try:
            bundle = read_bundle(path)
        except BundleError:
            if wish.source:
                raise
            continue  # files other than bundles may be there too
        if bundle.sha256 == sha256:
            return bundle
    raise CannotAdapt(
        f"expected the bundle that serves the stream (weights {sha256[:12]}), looked at"
        f" {', '.join(str(path) for path in looked)}: give it with --bundle"
    )


def _bundles_in(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ".zip" or (path / DESCRIPTION).exists())


def _make(of: StreamOfServer, wish: LiveWish, source: Bundle, recording: GrowingRecording) -> None:
    """Write the new bundle, or continue an earlier run."""
    work = work_folder(wish.out)
    movie, made = work / f"{recording.folder.name}.ome.tif", work / wish.out.name
    work.mkdir(exist_ok=True)
    try:
        _require_own(work, movie)
        _require_seen(of.server, work)
        if not movie.exists():
            frames = _first_frames(of, wish.first, recording)
            _require_room(work, recording.nbytes(len(frames)))
            recording.write_movie(frames, movie)
        if not made.exists():
            _say(*adapt(source.source, [movie], made, wish.wanted).decision.lines())
    except (CannotAdapt, NotPhotonCounts, NotBetter, ServerRefusal):
        if not {path.name for path in work.iterdir()} - {movie.name}:
            shutil.rmtree(work)  # there is no run to continue
        raise
    made.replace(wish.out)
    shutil.rmtree(work)


def _require_own(work: Path, movie: Path) -> None:
    others = [path.name for path in sorted(work.glob("*.ome.tif")) if path != movie]
    if others:
        raise CannotAdapt(
            f"{work} holds a run of another recording ({others[0]}): remove it, or give another --out"
        )


def _require_seen(server: RunningServer, work: Path) -> None:
    """Check before any work that this operator may load bundles from this folder.

    The server is asked to load the folder of the run, which holds no bundle. It must answer that there is no
    bundle, not that there is no folder.
    """
    try:
        server.load(work.name)
    except ServerRefusal as refusal:
        if refusal.code == "unknown_bundle":
            raise CannotAdapt(
                "expected --out directly inside one of the folders from which the server loads bundles "
                f"(server.bundle_folders), got {work.parent}, where the server does not find {work.name}"
            ) from refusal
        if refusal.code != "bad_bundle":
            raise


def _first_frames(of: StreamOfServer, first: FirstFrames, recording: GrowingRecording) -> list[RecordedFrame]:
    """Wait until the frames have arrived, and return them."""
    frames = first.of(recorded := recording.frames())
    if frames is None:
        _say(
            f"{len(recorded)} frames are recorded; waiting for the first {first.minutes:g} minutes, at "
            f"least {FEWEST_FRAMES} and at most {first.most} frames"
        )
    while frames is None:
        time.sleep(POLL_S)
        stream = of.server.streams().get(of.stream)
        if stream is not None:
            recording_of(of, stream)
        elif recording.is_final and first.of(recording.frames()) is None:
            raise CannotAdapt(
                f"stream {of.stream} ended before {first.minutes:g} minutes or {first.most} frames: give "
                "its raw.ome.tif to `dimstream-train adapt`"
            )
        frames = first.of(recording.frames())
    return frames


def _require_room(work: Path, nbytes: int) -> None:
    free = shutil.disk_usage(work).free
    if free < (needed := round(COPIES * nbytes) + LEFT_FREE):
        raise CannotAdapt(
            f"expected {needed / 1e9:.1f} GB free on the disk of {work}, of which {LEFT_FREE / 1e9:.1f} "
            f"remain free for recordings, got {free / 1e9:.1f}: free some space, or give --out on another "
            "disk"
        )


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)
