"""What of specpy is called, and how Imspector is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dimstream_client.errors import ImspectorError

MEASUREMENT, STEP = 0, 1
"""Which end `connect_end` tells of: of the whole measurement, or of one step, which is a line of the scan."""


class Stack(Protocol):
    """Pixels of one detector; dimensions are x, y, z, t, the fastest first."""

    def data(self) -> Any:
        """Return the pixels, (t, z, y, x); Imspector goes on writing into them."""

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
        """Return the measurement that is shown."""

    def connect_end(self, callback: Callable[[], None], flag: int) -> Any:
        """Call back at each end of a kind, on a thread of specpy's."""

    def disconnect_end(self, callback: Callable[[], None], flag: int) -> Any:
        """Call back no more."""

    def enable_loop(self, is_on: bool) -> Any:
        """Measure again and again, or once."""

    def start(self) -> Any:
        """Begin to measure, and return at once."""

    def pause(self) -> Any:
        """Stop measuring."""

    def value_at(self, path: str, root: Any) -> Any:
        """Return a value of the program's tree of settings."""


@dataclass(frozen=True)
class Imspector:
    """A program that runs.

    Parameters
    ----------
    application : Application
    status_root : object
        specpy's ``ValueTree.Status``.
    """

    application: Application
    status_root: Any

    def is_measuring(self) -> bool | None:
        """Return whether a measurement runs; None where the program does not say it."""
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
        specpy is not installed, or there is no Imspector.
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
    """Return the sides of a stack along x, y, z, t; what it is called changed with specpy's version."""
    sides = stack.shape() if callable(getattr(stack, "shape", None)) else stack.sizes()
    return tuple(int(side) for side in sides)
