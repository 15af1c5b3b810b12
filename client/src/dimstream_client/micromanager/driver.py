"""Actions of feedback on a run of pymmcore-plus: pause, end, and change the next events."""

from __future__ import annotations

from dimstream_client.errors import ArgumentError
from dimstream_client.feedback.decisions import Decision
from dimstream_client.feedback.loop import ActionRefused
from dimstream_client.feedback.observations import EXPOSURE
from dimstream_client.micromanager.cores import Core, device_and_property
from dimstream_client.micromanager.event_feed import EventFeed
from dimstream_client.micromanager.photon_scale import property_number


class MdaDriver:
    """The driver of `FeedbackLoop` for pymmcore-plus.

    Parameters
    ----------
    core : pymmcore_plus.CMMCorePlus
        The core that acquires.
    feed : EventFeed, optional
        Feed of the run's events; required for changes. It can be set later.
    """

    def __init__(self, core: Core, feed: EventFeed | None = None) -> None:
        self._core = core
        self.feed = feed

    def check(self, decision: Decision) -> None:
        """Check whether a decision could be carried out, without changes.

        Raises
        ------
        ActionRefused
        """
        if not self._core.mda.is_running():
            raise ActionRefused("no acquisition is running")
        if decision.action != "change":
            return
        if self.feed is None:
            raise ActionRefused("the events of this run cannot be changed: they do not come from a feed")
        if decision.what is None or decision.new is None:
            raise ActionRefused("the decision does not say what to change")
        if decision.what == EXPOSURE:
            if decision.new <= 0:
                raise ActionRefused(f"expected an exposure above 0 ms, got {decision.new:g}")
            return
        self._check_property(decision.what, decision.new)

    def _check_property(self, name: str, value: float) -> None:
        try:
            property_number(self._core, name, self._core.getPropertyFromCache)
        except ArgumentError as error:
            raise ActionRefused(error.detail) from error
        device, prop = device_and_property(name)
        if self._core.isPropertyReadOnly(device, prop):
            raise ActionRefused(f"{name} cannot be set")
        if not self._core.hasPropertyLimits(device, prop):
            return
        least = self._core.getPropertyLowerLimit(device, prop)
        largest = self._core.getPropertyUpperLimit(device, prop)
        if not least <= value <= largest:
            raise ActionRefused(f"{name}: expected {least:g} to {largest:g}, got {value:g}")

    def do(self, decision: Decision) -> None:
        """Carry out a decision, without waiting for a device.

        Raises
        ------
        ActionRefused
        """
        if decision.action == "pause":
            self._core.mda.set_paused(True)
        elif decision.action == "stop":
            self._core.mda.cancel()
        elif self.feed is not None and decision.what is not None and decision.new is not None:
            self.feed.change(decision.what, decision.new, channel=decision.index.c)
