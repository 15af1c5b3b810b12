"""Conversion of a camera's values to photons, with given numbers or named properties of a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from dimstream_client import arguments
from dimstream_client.errors import ArgumentError, Code
from dimstream_client.micromanager.cores import Core, device_and_property


@dataclass(frozen=True)
class PhotonScale:
    """Photons are ``(value - offset) / gain``; by default, values are photons.

    In Micro-Manager, *Gain* is often a step of the amplifier and not the counts per photon. So only
    properties are used that you name.

    Parameters
    ----------
    offset, gain : float, optional
        Value without light, and detector units per photon.
    offset_property, gain_property : str, optional
        ``DEVICE/PROPERTY`` that has the number; read when a stream is opened.
    """

    offset: float | None = None
    gain: float | None = None
    offset_property: str | None = None
    gain_property: str | None = None

    def __post_init__(self) -> None:
        for name in ("offset", "gain"):
            number, prop = getattr(self, name), getattr(self, f"{name}_property")
            if number is not None:
                arguments.field("OPEN", name, number)
            if number is not None and prop is not None:
                raise ArgumentError(
                    Code.BAD_FIELD, f"{name}: expected a number or a property, got both {number} and {prop}"
                )
            if prop is not None and not all(device_and_property(prop)):
                raise ArgumentError(
                    Code.BAD_FIELD, f"{name}_property: expected DEVICE/PROPERTY, got {prop!r}"
                )

    def read(self, core: Core) -> tuple[float | None, float | None]:
        """Return the current offset and gain.

        Raises
        ------
        ArgumentError
            When a device has no such property, or its value is not valid.
        """
        return (
            self._read(core, "offset", self.offset, self.offset_property),
            self._read(core, "gain", self.gain, self.gain_property),
        )

    def _read(self, core: Core, name: str, number: float | None, prop: str | None) -> float | None:
        if prop is None:
            return number
        value = property_number(core, prop, core.getProperty)
        return float(arguments.field("OPEN", name, value))


def property_number(core: Core, name: str, read: Callable[[str, str], Any]) -> float:
    """Return the value of ``DEVICE/PROPERTY``.

    Raises
    ------
    ArgumentError
        When there is no such device or property, or its value is not a number.
    """
    device, prop = device_and_property(name)
    if device not in core.getLoadedDevices() or not core.hasProperty(device, prop):
        raise ArgumentError(Code.BAD_FIELD, f"{name}: there is no such device, or it has no such property")
    value = read(device, prop)
    try:
        return float(value)
    except ValueError:
        raise ArgumentError(Code.BAD_FIELD, f"{name}: expected a number, got {value!r}") from None
