"""Thresholds that are in force: those of a bundle, and what a stream has changed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Final

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Bundle
from dimstream_server.errors import BadUpdate

HIGHEST_COUNT: Final = 1e12
"""Photons in a window, as a threshold: far above any detector and exact enough in float32."""


def thresholds_of(bundle: Bundle) -> Thresholds:
    """The thresholds that a bundle brings."""
    own = {one.name: getattr(bundle.thresholds, one.name, None) for one in fields(Thresholds)}
    return Thresholds(**{name: value for name, value in own.items() if value is not None})


def changed(before: Thresholds, changes: Mapping[str, float]) -> Thresholds:
    """Thresholds after a change; what `changes` does not name stays.

    Raises
    ------
    BadUpdate
        A window could be background and signal at once, or a threshold is no photon count.
    """
    after = replace(before, **changes)
    if not 0 <= after.background_max <= after.signal_min <= HIGHEST_COUNT:
        raise BadUpdate(
            f"expected 0 <= background_max <= signal_min <= {HIGHEST_COUNT:g}, "
            f"got {after.background_max:g} and {after.signal_min:g}; change both in one UPDATE"
        )
    return after
