"""All servers at the same time, their frames in turns."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dimstream_models.bundle import Bundle, read_bundle
from dimstream_models.shipped import shipped_bundle
from dimstream_server.benchmarks.identity_bundle import write_identity_bundle
from dimstream_server.benchmarks.interleaved import check_same_pixels, race, route_figures
from dimstream_server.benchmarks.plan import make_frames
from dimstream_server.benchmarks.routes import BareRoute, Route
from dimstream_server.pipeline.fused_graph import OUTPUTS, compose
from dimstream_server.pipeline.thresholds import thresholds_of
from dimstream_server.server_process import running_server
from peers.contenders import Contender
from peers.running import PeerFailed, PeerRoute, connected, serving
from peers.tables import NetworkFigures

WINDOW = 6  # dimstream takes no more requests of one client at the same time, unless it is told to
LAP_FRAMES = {"identity": 16, "shipped": 6}


def measure(
    network: str, pythons: dict[Contender, Path], left_out: dict[str, str], rounds: int, lap_frames: int
) -> NetworkFigures:
    """Start all servers, see that they give the same pixels, and race.

    Raises
    ------
    BenchmarkError, PeerFailed
        A peer gives other pixels, or ends in the middle; one that does not start is left out with the reason.
    """
    shipped = read_bundle(shipped_bundle())
    frames = make_frames(lap_frames)
    absent = dict(left_out)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bundle = write_identity_bundle(scratch / "bundle", shipped) if network == "identity" else shipped
        settings = _settings(bundle, scratch, np.stack(frames))
        server = stack.enter_context(running_server(bundle.source))
        ours = settings | {"zmq": server.zmq, "http": server.http, "model": bundle.id}
        routes: list[Route] = [BareRoute(bundle, "cpu")]
        titles = {BareRoute.name: "bare session.run"}
        for one, python in pythons.items():
            try:
                routes += _routes(stack, one, python, ours if one.is_ours else settings, scratch)
                titles[one.name] = one.title
            except PeerFailed as error:
                absent[one.title] = str(error)
        check_same_pixels(routes[0], routes[1:], frames[0])
        print(f"{network}: {len(titles)} take part, {len(absent)} do not; {rounds} rounds ...", flush=True)
        laps = race(routes, frames, rounds, lambda _: None)
    figures = route_figures(laps, BareRoute.name, titles)
    return NetworkFigures(network, rounds, len(frames), titles, figures, absent)


def _settings(bundle: Bundle, scratch: Path, frames: Any) -> dict[str, Any]:
    """What servers and clients have to know, the graph and the frames in files."""
    graph, pixels, limits = scratch / "graph.onnx", scratch / "frames.npy", thresholds_of(bundle)
    graph.write_bytes(compose(bundle, "uint16", "uint16").SerializeToString())
    np.save(pixels, frames)
    return {
        "graph": str(graph),
        "frames": str(pixels),
        "shape": list(frames.shape[1:]),
        "threads": len(os.sched_getaffinity(0)),
        "outputs": list(OUTPUTS),
        "limits": {"background_max": limits.background_max, "signal_min": limits.signal_min},
    }


def _routes(
    stack: ExitStack, one: Contender, python: Path, settings: dict[str, Any], scratch: Path
) -> list[Route]:
    """One frame in flight, and several; both by one client's process."""
    home = scratch / one.name
    home.mkdir()
    with ExitStack() as own:
        server = None
        if not one.is_ours:
            settings, server = own.enter_context(serving(python, one.program, settings, home))
        client = own.enter_context(connected(python, one.program, settings, home, server))
        stack.enter_context(own.pop_all())
    return [
        PeerRoute(one.name, client, home, window=1),
        PeerRoute(f"{one.name}_{WINDOW}", client, home, window=WINDOW),
    ]
