"""`dimstream-server demo`: the sample movie of a bundle through a real server and the real client.

Leaves `denoised.ome.tif`, `flags.jsonl` and `summary.png`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_client.cli import main as dimstream
from dimstream_client.tiff import open_stack
from dimstream_models.bundle import Bundle, BundleError, read_attachment, read_bundle
from dimstream_server.server_process import ServerProcessError, running_server

MOVIE, TRUTH = "sample/movie.ome.tif", "sample/truth.ome.tif"


def main(argv: Sequence[str]) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="dimstream-server demo", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle with a sample movie")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the results")
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between frames")
    arguments = parser.parse_args(argv)
    try:
        bundle = read_bundle(arguments.bundle)
        movie = read_attachment(bundle, MOVIE)
        truth = read_attachment(bundle, TRUTH)
        arguments.out.mkdir(parents=True, exist_ok=True)
        with running_server(arguments.bundle) as server:
            status = _stream(movie, arguments.out, server.zmq, arguments.interval)
    except (BundleError, ServerProcessError, OSError) as error:
        print(f"dimstream-server demo: {error}", file=sys.stderr)
        return 2
    if status == 0:
        _report(bundle, arguments.out, movie, truth)
    return status


def _stream(movie: bytes, out: Path, endpoint: str, interval_s: float) -> int:
    """Send the movie as a user would: with `dimstream stream`."""
    with tempfile.TemporaryDirectory() as scratch:
        source, denoised = Path(scratch) / "movie.ome.tif", out / "denoised.ome.tif"
        source.write_bytes(movie)
        status = dimstream(
            ["stream", str(source), str(denoised), "--server", endpoint, "--interval", str(interval_s)]
        )
    flags = out / "denoised.flags.jsonl"
    if status == 0:
        flags.replace(out / "flags.jsonl")
    return status


def _report(bundle: Bundle, out: Path, movie: bytes, truth: bytes) -> None:
    records = [json.loads(line) for line in (out / "flags.jsonl").read_text().splitlines()]
    stacks = []
    for source in (BytesIO(movie), out / "denoised.ome.tif", BytesIO(truth)):
        with open_stack(source) as stack:
            stacks.append(stack.asarray())
    draw_summary(out / "summary.png", stacks, records, bundle.thresholds.ssim)
    counts = {flag: sum(r["flag"] == flag for r in records) for flag in ("ok", "suspect", "unjudged")}
    latency = float(np.median([r["t_ms"]["total"] for r in records]))
    print(f"{len(records)} frames: " + ", ".join(f"{n} {flag}" for flag, n in counts.items()))
    print(f"median {latency:.0f} ms from a frame's arrival to its answer")
    print(f"look at {out / 'summary.png'}; open {out / 'denoised.ome.tif'} in Fiji")


def draw_summary(
    path: Path, stacks: Sequence[NDArray[Any]], records: Sequence[dict[str, Any]], threshold: float | None
) -> None:
    """Write the picture: raw, denoised and truth of a believed and of a suspect frame; the SSIM trace.

    Parameters
    ----------
    stacks : three (T, H, W) arrays
        Raw counts, denoised and true high-dose counts.
    records : sequence of mappings
        The lines of `flags.jsonl`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(9, 9), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=(3, 3, 1.6))
    for row, frame in enumerate(_shown(records)):
        flag = records[frame]["flag"]
        for column, (name, stack) in enumerate(zip(("raw", "denoised", "truth"), stacks, strict=True)):
            axes = figure.add_subplot(grid[row, column])
            own_scale = stack[frame] if name == "denoised" and flag == "suspect" else stack
            axes.imshow(stack[frame], cmap="magma", vmin=0, vmax=max(np.quantile(own_scale, 0.999), 1))
            axes.set(xticks=[], yticks=[], title=f"{name}, frame {frame}" + f": {flag}" * (column == 1))
    _draw_trace(figure.add_subplot(grid[2, :]), records, threshold)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _shown(records: Sequence[dict[str, Any]]) -> list[int]:
    """Return the middle frame of those believed and of those suspect."""
    chosen = []
    for flag in ("ok", "suspect"):
        frames = [i for i, record in enumerate(records) if record["flag"] == flag]
        chosen += frames[len(frames) // 2 : len(frames) // 2 + 1]
    return chosen


def _draw_trace(axes: Any, records: Sequence[dict[str, Any]], threshold: float | None) -> None:
    colours = {"ok": "tab:green", "suspect": "tab:red", "unjudged": "tab:gray"}
    trace = [np.nan if record["ssim_prev"] is None else record["ssim_prev"] for record in records]
    axes.plot(trace, color="0.7", zorder=1)
    for flag, colour in colours.items():
        frames = [i for i, record in enumerate(records) if record["flag"] == flag]
        heights = np.nan_to_num([trace[i] for i in frames])
        axes.scatter(frames, heights, color=colour, s=18, label=f"{flag} ({len(frames)})", zorder=2)
    if threshold is not None:
        axes.axhline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2f}")
    axes.set(xlabel="frame", ylabel="SSIM", ylim=(-0.05, 1))
    axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.3), frameon=False)
