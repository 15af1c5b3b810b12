"""Which stream is on which device. No threads, no clock.

A stream remains on its device, because the prediction of its last frame is there. It moves only when its
device is lost. A new stream goes to the device on which one frame of each stream, including the new one,
would take the least total time. For a live stream, only the live streams count first, because batch streams
give way. If equal, the device with fewer streams is used, and then the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Place:
    device: int
    pixels: int
    batch: bool


class Placement:
    """Streams on devices; devices are identified by number.

    Parameters
    ----------
    devices : int
        Number of devices.
    """

    def __init__(self, devices: int) -> None:
        self._living = list(range(devices))
        self._places: dict[str, _Place] = {}

    @property
    def living(self) -> tuple[int, ...]:
        """Devices that were not lost."""
        return tuple(self._living)

    def place(
        self,
        stream: str,
        pixels: int,
        *,
        s_per_pixel: Sequence[float],
        batch: bool = False,
        among: Sequence[int] = (),
    ) -> int:
        """Place a stream, and return its device; at least one device must not be lost.

        Parameters
        ----------
        pixels : int
            Pixels of a frame in the model's input.
        s_per_pixel : sequence of float
            Seconds per pixel of each device, including lost ones.
        batch : bool
            Whether it gives way to live streams.
        among : sequence of int
            Preferred devices, none of which is lost; empty: all are equal.
        """
        self._places.pop(stream, None)
        before = {
            device: [place for place in self._places.values() if place.device == device]
            for device in self._living
        }

        def costs(device: int) -> tuple[float, ...]:
            others, per_pixel = before[device], s_per_pixel[device]
            all_s = (pixels + sum(place.pixels for place in others)) * per_pixel
            live_s = (pixels + sum(place.pixels for place in others if not place.batch)) * per_pixel
            return (all_s, len(others)) if batch else (live_s, all_s, len(others))

        device = min(among or self._living, key=costs)
        self._places[stream] = _Place(device, pixels, batch)
        return device

    def __contains__(self, stream: str) -> bool:
        return stream in self._places

    def device_of(self, stream: str) -> int:
        """Return the device of a placed stream, which may be lost since then."""
        return self._places[stream].device

    def is_batch(self, stream: str) -> bool:
        """Whether a placed stream gives way to live ones."""
        return self._places[stream].batch

    def pixels_of(self, stream: str) -> int:
        """Return the pixels of a frame of a placed stream."""
        return self._places[stream].pixels

    def streams_on(self, device: int) -> list[str]:
        """Return the streams of a device, in the order in which they were placed there."""
        return [stream for stream, place in self._places.items() if place.device == device]

    def end(self, stream: str) -> None:
        """Remove a stream."""
        self._places.pop(stream, None)

    def lose(self, device: int) -> None:
        """Do not use a device any more; its streams must be placed again."""
        self._living.remove(device)
