"""`dimstream-server demo`: the sample movie of a bundle through a real server and the real client.

Its folder gets movie.ome.tif (raw), truth.ome.tif (the same scene at high dose, without noise),
denoised.ome.tif, denoised.maps.ome.tif (support maps), denoised.flags.jsonl and summary.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_client.cli import main as dimstream
from dimstream_client.file_streaming import resume_path
from dimstream_client.files import open_images
from dimstream_models.bundle import Bundle, BundleError, Thresholds, read_attachment, read_bundle
from dimstream_models.quality.support_map import CLASS, PREDICTED, UNSUPPORTED
from dimstream_models.shipped import find_bundle, shipped_bundle
from dimstream_server.server_process import ServerProcessError, running_server

MOVIE, TRUTH = "sample/movie.ome.tif", "sample/truth.ome.tif"
MAPS, FLAGS = "denoised.maps.ome.tif", "denoised.flags.jsonl"
COLUMNS = ("raw", "denoised", "truth", "support map")
# This border does not set the contrast: in an empty field the network draws more there than elsewhere.
BORDER_PX = 8


def main(argv: Sequence[str]) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="dimstream-server demo", description=__doc__)
    what = "a bundle with a sample movie (default: the one that ships)"
    parser.add_argument("--bundle", type=find_bundle, help=what)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the results")
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between frames")
    arguments = parser.parse_args(argv)
    import matplotlib  # noqa: F401  both before anything is written or started
    import onnxruntime  # noqa: F401

    is_shipped = arguments.bundle is None
    try:
        bundle = read_bundle(shipped_bundle() if is_shipped else arguments.bundle)
        movie = read_attachment(bundle, MOVIE)
        truth = read_attachment(bundle, TRUTH)
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "truth.ome.tif").write_bytes(truth)
        print(f"bundle {bundle.id}" + ", the one that ships: trained on simulated frames only" * is_shipped)
        with running_server(Path(bundle.source), more=("--log-level", "error")) as server:
            status = _stream(movie, arguments.out, server.zmq, arguments.interval)
    except (BundleError, ServerProcessError, OSError) as error:
        print(f"dimstream-server demo: {error}", file=sys.stderr)
        return 2
    if status == 0:
        _report(bundle, arguments.out, movie, truth)
    return status


def _stream(movie: bytes, out: Path, endpoint: str, interval_s: float) -> int:
    """Send the movie as a user would: with `dimstream stream`."""
    source, denoised = out / "movie.ome.tif", out / "denoised.ome.tif"
    source.write_bytes(movie)
    resume_path(denoised).unlink(missing_ok=True)  # a demo that was interrupted starts again
    # float32: in an empty field the network invents fractions of a count, which uint16 rounds away
    command = ["stream", str(source), str(denoised), "--server", endpoint, "--maps", "--out-dtype", "float32"]
    return dimstream([*command, "--interval", str(interval_s)])


def _report(bundle: Bundle, out: Path, movie: bytes, truth: bytes) -> None:
    records = [json.loads(line) for line in (out / FLAGS).read_text().splitlines()]
    stacks = []
    for source in (BytesIO(movie), out / "denoised.ome.tif", BytesIO(truth), out / MAPS):
        with open_images(source) as stack:
            stacks.append(stack.asarray())
    draw_summary(out / "summary.png", stacks, records, bundle.thresholds)
    counts = {flag: sum(r["flag"] == flag for r in records) for flag in ("ok", "suspect", "unjudged")}
    infer_ms, total_ms = (float(np.median([r["t_ms"][part] for r in records])) for part in ("infer", "total"))
    print(f"{len(records)} frames: " + ", ".join(f"{n} {flag}" for flag, n in counts.items()))
    print(f"median {infer_ms:.0f} ms in the network, {total_ms:.0f} ms in the server, waiting included")
    print(
        f"look at {out / 'summary.png'}; open {out / 'movie.ome.tif'} and {out / 'denoised.ome.tif'} in Fiji"
    )


def draw_summary(
    path: Path, stacks: Sequence[NDArray[Any]], records: Sequence[dict[str, Any]], limits: Thresholds
) -> None:
    """Write the picture: raw, denoised, truth and support map of an ok and of a suspect frame; two traces.

    All images of a kind share one contrast. Only the suspect frame, raw and denoised, is shown brighter, and
    its title says how much: what the network invents there is fainter than a count.

    Parameters
    ----------
    stacks : four (T, H, W) arrays
        Raw counts, denoised and true high-dose counts, support maps.
    records : sequence of mappings
        The lines of `denoised.flags.jsonl`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(11, 9), layout="constrained")
    grid = figure.add_gridspec(4, 4, height_ratios=(3, 3, 1.3, 1.3))
    for row, frame in enumerate(_shown(records)):
        flag = records[frame]["flag"]
        for column, (name, stack) in enumerate(zip(COLUMNS, stacks, strict=True)):
            axes = figure.add_subplot(grid[row, column])
            title = f"{name}, frame {frame}" + f": {flag}" * (name == "denoised")
            if name == "support map":
                axes.imshow(_coloured(stack[frame]))
            else:
                own_scale = flag == "suspect" and name != "truth"
                brighter = _brighter(stack, frame) if own_scale else 1.0
                axes.imshow(stack[frame] * brighter, cmap="magma", vmin=0, vmax=_white(stack))
                title += f"\nshown {brighter:,.0f} times brighter" * own_scale
            axes.set(xticks=[], yticks=[])
            axes.set_title(title, size=10)
    figure.supxlabel(
        "support map: green: signal predicted where photons are; red: signal predicted without photons; "
        "grey: photons, nothing predicted that rises above them",
        size=9,
    )
    _draw_trace(figure.add_subplot(grid[2, :]), records, "SSIM", [_ssim(one) for one in records], limits.ssim)
    scores = [one["quality"]["structure_score"] for one in records]
    _draw_trace(figure.add_subplot(grid[3, :]), records, "structure score", scores, limits.structure_score)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _white(counts: NDArray[Any]) -> float:
    """Return the count that is shown white: the 0.999 quantile of (..., H, W) within the border."""
    inner = slice(BORDER_PX, -BORDER_PX)
    return float(np.quantile(counts[..., inner, inner], 0.999))


def _brighter(stack: NDArray[Any], frame: int) -> float:
    """Return by how much to brighten a frame of (T, H, W) counts to its movie's white; 1: it is blank."""
    own = _white(stack[frame])
    return _white(stack) / own if own > 0 else 1.0


def _coloured(support: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(H, W, 3): grey by class, red where signal is predicted without support, green where with it."""
    picture = np.repeat(np.array([0.0, 0.3, 0.6])[support & CLASS][..., None], 3, axis=-1)
    unsupported = (support & UNSUPPORTED) > 0
    picture[unsupported] = (0.9, 0.1, 0.1)
    picture[((support & PREDICTED) > 0) & ~unsupported] = (0.2, 0.8, 0.3)
    return picture


def _ssim(record: dict[str, Any]) -> float:
    """The better of both, as it is judged; nan where there was no comparison."""
    known = [value for value in (record["ssim_prev"], record["quality"]["ssim_aligned"]) if value is not None]
    return max(known, default=np.nan)


def _shown(records: Sequence[dict[str, Any]]) -> list[int]:
    """Return the middle frame of those that are ok and of those that are suspect."""
    chosen = []
    for flag in ("ok", "suspect"):
        frames = [i for i, record in enumerate(records) if record["flag"] == flag]
        chosen += frames[len(frames) // 2 : len(frames) // 2 + 1]
    return chosen


def _draw_trace(
    axes: Any,
    records: Sequence[dict[str, Any]],
    name: str,
    trace: Sequence[float],
    threshold: float | None,
) -> None:
    colours = {"ok": "tab:green", "suspect": "tab:red", "unjudged": "tab:gray"}
    axes.plot(trace, color="0.7", zorder=1)
    for flag, colour in colours.items():
        frames = [i for i, record in enumerate(records) if record["flag"] == flag]
        heights = np.nan_to_num([trace[i] for i in frames])
        axes.scatter(frames, heights, color=colour, s=18, label=f"{flag} ({len(frames)})", zorder=2)
    if threshold is not None:
        axes.axhline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2g}")
    axes.set(xlabel="frame", ylabel=name)
    axes.legend(ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
