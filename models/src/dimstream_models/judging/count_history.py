"""What is remembered of a plane's values: whether they are photon counts, and whether they could be split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from dimstream_models.judging.frame_metrics import FrameMetrics

CLEAN_FRAMES: Final = 8
"""Frames in a row without doubt after which values count as photon counts again. A detector does not change
from frame to frame, and a dim frame shows nothing about it."""


@dataclass
class CountHistory:
    """Whether the values of one plane are photon counts.

    Parameters
    ----------
    not_photons : str or None
        Why they are not, as it was first found.
    split_refused : str or None
        Why the last frame to be split was refused. It holds until the next split.
    """

    not_photons: str | None = None
    split_refused: str | None = None
    _clean: int = 0  # frames since the last doubt
    _refused_for: int = 0  # frames, this one included

    def follow(self, metrics: FrameMetrics, *, split_every: int) -> None:
        """Update it with the next frame.

        Parameters
        ----------
        split_every : int
            Number of the plane's frames for which the result of a split holds; 0: for its own frame
            only.
        """
        if metrics.doubt is not None and metrics.doubt.certain:
            self.not_photons = self.not_photons or str(metrics.doubt)
            self._clean = 0
        elif self.not_photons is not None:
            self._clean += 1
            if self._clean >= CLEAN_FRAMES:
                self.not_photons, self._clean = None, 0
        self._refused_for = max(self._refused_for - 1, 0)
        if metrics.split_refused is not None:
            self.split_refused, self._refused_for = metrics.split_refused, max(split_every, 1)
        elif metrics.split_ssim is not None or not self._refused_for:
            self.split_refused, self._refused_for = None, 0

    def objections(self) -> list[str]:
        """Return why no frame of the plane can be "ok" now, as sentences for people."""
        found = [] if self.not_photons is None else [self.not_photons]
        if self.split_refused is not None and self.not_photons is None:
            found.append(f"its photons could not be split: {self.split_refused}")
        return found

    def state(self) -> dict[str, Any]:
        """Return the whole history as JSON values."""
        return {
            "not_photons": self.not_photons,
            "split_refused": self.split_refused,
            "clean": self._clean,
            "refused_for": self._refused_for,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the history that `state` describes."""
        return cls(state["not_photons"], state["split_refused"], state["clean"], state["refused_for"])
