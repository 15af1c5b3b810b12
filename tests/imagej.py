"""ImageJ's own background subtraction, run in Java; and images on which it was run once, stored.

`python tests/imagej.py` stores them again, in `fixtures/rolling_ball.npz`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

JAR = Path("/usr/share/java/ij.jar")  # of Debian's libij-java
PROGRAM = Path(__file__).parent / "analysis" / "java" / "SubtractBackground.java"
STORED = Path(__file__).parent / "analysis" / "fixtures" / "rolling_ball.npz"


@dataclass(frozen=True)
class Case:
    name: str
    image: NDArray[Any]
    radius_px: float = 15
    smooth: bool = True


def is_here() -> bool:
    return shutil.which("java") is not None and JAR.exists()


def cases() -> list[Case]:
    """Images of a background, lines and spots: types, odd and even sides, every way of shrinking."""
    rng = np.random.default_rng(7)
    y, x = np.indices((61, 74))
    glow = 900 + 500 * np.sin(x / 21) + 6.0 * y
    lines = 2500 * (np.abs(np.sin(x / 9 + y / 23)) > 0.97) + 1800 * (np.hypot(x - 50, y - 20) < 5)
    image = glow + lines + rng.normal(0, 60, glow.shape)
    whole = np.clip(image, 0, 65535).astype(np.uint16)
    return [
        Case("uint16", whole),
        Case("float32", (image - 800).astype(np.float32)),
        Case("uint8", (whole / 24).astype(np.uint8)),
        Case("no smoothing", whole, smooth=False),
        Case("even sides", whole[:60, :60]),
        Case("photons", rng.poisson(image / 900).astype(np.uint16)),
        Case("floats from 0 to 1", (image / image.max()).astype(np.float32)),
        Case("brightest", np.where(lines > 0, 65535, whole).astype(np.uint16)),
        Case("radius 4", whole, radius_px=4),
        Case("radius 10", whole, radius_px=10),
        Case("radius 22.5", whole.astype(np.float32), radius_px=22.5),
        Case("radius 50", whole, radius_px=50),
        Case("radius 150", whole, radius_px=150),
    ]


def subtracted(cases: Sequence[Case]) -> list[NDArray[np.float32]]:
    """What ImageJ makes of them."""
    with tempfile.TemporaryDirectory() as name:
        folder, words = Path(name), list[str]()
        for number, case in enumerate(cases):
            case.image.tofile(folder / f"{number}.in")
            height, width = case.image.shape
            words += [f"{folder}/{number}.in", f"{folder}/{number}.out", f"{width}", f"{height}"]
            words += [case.image.dtype.name, f"{case.radius_px}", str(case.smooth).lower()]
        java = ["java", "-Djava.awt.headless=true", "-cp", str(JAR), str(PROGRAM)]
        subprocess.run([*java, *words], check=True, timeout=240)
        return [
            np.fromfile(folder / f"{number}.out", "<f4").reshape(case.image.shape)
            for number, case in enumerate(cases)
        ]


if __name__ == "__main__":
    STORED.parent.mkdir(exist_ok=True)
    chosen = [case for case in cases() if case.name in ("uint16", "float32", "photons")]
    results = zip(chosen, subtracted(chosen), strict=True)
    np.savez_compressed(STORED, **{case.name: result for case, result in results})
