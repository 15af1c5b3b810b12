"""Whether recordings hold what was sent and what was answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tifffile

from faults.movies import Movie


def check_recording(folder: Path, movie: Movie, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare the one recording in a folder with its movie and with what was `said` of each frame.

    Returns
    -------
    dict
        ``frames`` that have a line; ``wrong``: what is not as it should be.
    """
    (recording,) = folder.iterdir()
    lines = [json.loads(line) for line in (recording / "frames.jsonl").read_text().splitlines()]
    frames = [line for line in lines if "event" not in line]
    wrong = [str(line) for line in lines if line.get("event") == "stopped"]
    if [line["seq"] for line in frames] != list(range(len(answers))):
        wrong.append("its lines are not one for each frame, in order")
    with (
        tifffile.TiffFile(recording / "raw.ome.tif") as raw,
        tifffile.TiffFile(recording / "denoised.ome.tif") as denoised,
    ):
        if not raw.is_ome or not denoised.is_ome:
            wrong.append("there is no OME-XML")
        for line, answer in zip(frames, answers, strict=False):
            seq, page = line["seq"], line["page"]
            if (raw.pages[page].asarray() != movie.frame(seq)).any():
                wrong.append(f"raw frame {seq}")
            pixels = denoised.pages[page].asarray()
            if (
                answer["status"] == "done"
                and hashlib.sha256(pixels.tobytes()).hexdigest() != answer["pixels"]
            ):
                wrong.append(f"denoised frame {seq}")
            if line["flag"] != answer["flag"] or line["ssim_prev"] != answer["ssim"]:
                wrong.append(f"line of frame {seq}")
    return {"frames": len(frames), "wrong": wrong[:10]}
