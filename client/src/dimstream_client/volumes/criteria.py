"""What the planes of a z-stack are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Criteria:
    """Thresholds; the defaults are those of the bundle that ships.

    Parameters
    ----------
    ssim : float
        Least SSIM with a neighbour in depth.
    structure_score : float
        Least structure score of the raw frame, in standard errors above noise.
    split : float or None
        Least SSIM of the predictions of both halves of the photons; None: not judged by it.
    """

    ssim: float = 0.29
    structure_score: float = 5.0
    split: float | None = 0.41

    @classmethod
    def of(cls, thresholds: Mapping[str, Any]) -> Criteria:
        """Return the criteria among a model's thresholds, as ``GET /v1/models`` tells them.

        Raises
        ------
        ValueError
            The model has none for `ssim` or `structure`.
        """
        known: dict[str, Any] = {one.name: thresholds.get(one.name) for one in fields(cls)}
        for name in ("ssim", "structure_score"):
            if known[name] is None:
                raise ValueError(
                    f"expected a threshold `{name}`, and the model has none; give --{name.replace('_', '-')}"
                )
        return cls(**known)

    def __str__(self) -> str:
        split = "none" if self.split is None else f"{self.split:g}"
        return f"ssim {self.ssim:g}, structure score {self.structure_score:g}, split {split}"
