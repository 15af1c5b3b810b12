"""Either side of a peer: `python peer.py serve|ask PROGRAM SETTINGS.json`, in the peer's environment.

A program has ``serve(settings)``, which runs until it is ended, and ``connect(settings)``, which gives what
denoises one frame (H, W) uint16 by a connection of its own; or ``many(settings, frames, window)`` as well,
where several frames are in flight by other means than several connections.
"""

import importlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

import numpy as np


def main() -> None:
    """Serve, or do what stdin asks, a line each, and answer by a line each."""
    side, program, path = sys.argv[1:]
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    sys.path.insert(0, str(Path(__file__).parent))
    module = importlib.import_module(program)
    if side == "serve":
        module.serve(settings)
        return
    answers, sys.stdout = sys.stdout, sys.stderr
    frames = list(np.load(settings["frames"]))
    for line in sys.stdin:
        try:
            answer = _done(module, settings, frames, json.loads(line))
        except Exception as error:  # whatever a peer's client raises is the answer
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


def _done(module, settings, frames, question):
    if "denoise" in question:
        np.save(question["denoise"], module.connect(settings)(frames[0]))
        return {}
    chosen, window = frames[: question["frames"]], question["window"]
    if window == 1:
        return _one_by_one(module.connect(settings), chosen)
    many = getattr(module, "many", None)
    elapsed_s = many(settings, chosen, window) if many else _by_threads(module, settings, chosen, window)
    return {"elapsed_ms": elapsed_s * 1e3, "latencies_ms": [elapsed_s * 1e3 / len(chosen)] * len(chosen)}


def _one_by_one(denoise, frames):
    denoise(frames[0])  # opens the connection
    latencies = []
    started = time.perf_counter()
    for frame in frames:
        sent = time.perf_counter()
        denoise(frame)
        latencies.append((time.perf_counter() - sent) * 1e3)
    return {"elapsed_ms": (time.perf_counter() - started) * 1e3, "latencies_ms": latencies}


def _by_threads(module, settings, frames, window):
    """As many connections as frames in flight, each a thread of its own."""
    own = local()

    def connect(_):
        own.denoise = module.connect(settings)

    with ThreadPoolExecutor(window, initializer=connect, initargs=(None,)) as threads:
        list(threads.map(lambda _: time.sleep(0.01), range(4 * window)))  # each has connected
        started = time.perf_counter()
        list(threads.map(lambda frame: own.denoise(frame), frames))
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
