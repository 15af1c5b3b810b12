"""Protocols of the used parts of specpy, and the connection to Imspector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dimstream_client.errors import ImspectorError

MEASUREMENT, STEP = 0, 1
"""Events of `connect_end`: end of the whole measurement, or of one step, which is a line of the scan."""


class Stack(Protocol):
    """Pixels of one detector; dimensions are x, y, z, t, the fastest first."""

    def data(self) -> Any:
        """Return the pixels, (t, z, y, x); Imspector continues to write into them."""

    def lengths(self) -> Any:
        """Return the length of each dimension, metres and seconds."""

    def name(self) -> str:
        """Return its name."""


class Measurement(Protocol):
    """An open measurement."""

    def stack(self, which: Any) -> Stack:
        """Return a stack by its number or name."""

    def stack_names(self) -> Any:
        """Return the names of all stacks."""


class Application(Protocol):
    """Imspector, as specpy shows it."""

    def active_measurement(self) -> Measurement:
        """Return the displayed measurement."""

    def connect_end(self, callback: Callable[[], None], flag: int) -> Any:
        """Register a callback for each end of a kind; it is called on a thread of specpy."""

    def disconnect_end(self, callback: Callable[[], None], flag: int) -> Any:
        """Remove a callback."""

    def enable_loop(self, is_on: bool) -> Any:
        """Measure repeatedly, or once."""

    def start(self) -> Any:
        """Start to measure, and return at once."""

    def pause(self) -> Any:
        """Stop measuring."""

    def value_at(self, path: str, root: Any) -> Any:
        """Return a value from the program's tree of settings."""


@dataclass(frozen=True)
class Imspector:
    """A running Imspector.

    Parameters
    ----------
    application : Application
    status_root : object
        specpy's ``ValueTree.Status``.
    """

    application: Application
    status_root: Any

    def is_measuring(self) -> bool | None:
        """Return whether a measurement runs; None if unknown."""
        try:
            progress = self.application.value_at("Measurement/timing/progress", self.status_root).get()
            return bool(progress["active"])
        except (RuntimeError, KeyError, TypeError, AttributeError):
            return None


def connect(host: str | None = None) -> Imspector:
    """Return the Imspector that runs on this computer, or on `host`; its server must be switched on.

    Raises
    ------
    ImspectorError
        When specpy is not installed, or Imspector is not found.
    """
    try:
        import specpy
    except ImportError as error:
        raise ImspectorError(
            f"this needs specpy ({error}): install the wheel that came with your Imspector, or "
            'pip install "dimstream-client[imspector]"'
        ) from error
    try:
        application = specpy.get_application() if host is None else specpy.get_application(host)
    except RuntimeError as error:
        raise ImspectorError(
            f"no Imspector was found on {host or 'this computer'} ({error}): start it, and its server by "
            "Run Server"
        ) from error
    return Imspector(application, specpy.ValueTree.Status)


def shape_of(stack: Any) -> tuple[int, ...]:
    """Return the lengths of a stack along x, y, z, t; the name of this function depends on specpy's
    version."""
    sides = stack.shape() if callable(getattr(stack, "shape", None)) else stack.sizes()
    return tuple(int(side) for side in sides)
