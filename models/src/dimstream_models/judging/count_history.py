"""What is remembered of a plane's values: whether they are photon counts, and whether they could be split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from dimstream_models.judging.frame_metrics import FrameMetrics

CLEAN_FRAMES: Final = 8
"""So many frames in a row without a doubt, and the values are taken as photon counts again: a detector does
not change from frame to frame, and a dim frame tells nothing."""


@dataclass
class CountHistory:
    """Whether the values of one plane are photon counts.

    Parameters
    ----------
    not_photons : str or None
        Why they are none, as it was first found.
    split_refused : str or None
        Why the last frame whose photons were to be split was refused; it holds until the next is asked.
    """

    not_photons: str | None = None
    split_refused: str | None = None
    _clean: int = 0  # frames since the last doubt
    _refused_for: int = 0  # frames, this one included

    def follow(self, metrics: FrameMetrics, *, split_every: int) -> None:
        """Bring it up to the next frame.

        Parameters
        ----------
        split_every : int
            Frames of the plane for which the outcome of a split holds; 0: for its own.
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
        """Return why no frame of the plane is plainly "ok" now, in words."""
        found = [] if self.not_photons is None else [self.not_photons]
        if self.split_refused is not None and self.not_photons is None:
            found.append(f"its photons could not be split: {self.split_refused}")
        return found

    def state(self) -> dict[str, Any]:
        """Return all of it, as JSON holds it."""
        return {
            "not_photons": self.not_photons,
            "split_refused": self.split_refused,
            "clean": self._clean,
            "refused_for": self._refused_for,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the history of which `state` told."""
        return cls(state["not_photons"], state["split_refused"], state["clean"], state["refused_for"])
