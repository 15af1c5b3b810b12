"""Which stream is on which device. No threads, no clock.

A stream stays where it was placed, as what its next frame is compared with lies there; it moves only when its
device is lost. A new stream goes where one frame of each stream, its own included, would take the least time
together; for a live stream, to which batch streams give way, that of the live ones comes first. Where all is
the same, it goes to the device with fewer streams, and then to the first.
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
    """Streams on devices, which are known by their numbers.

    Parameters
    ----------
    devices : int
        How many there are.
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
        """The device of a stream from now on; one at least must live.

        Parameters
        ----------
        pixels : int
            Of a frame, as the model is given it.
        s_per_pixel : sequence of float
            What each device, lost ones included, takes for a pixel, seconds.
        batch : bool
            Whether it gives way to live streams.
        among : sequence of int
            Devices that live and are taken rather than others; none: all are as good.
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
        """Where a stream is that was placed; perhaps on a device that was lost since."""
        return self._places[stream].device

    def is_batch(self, stream: str) -> bool:
        """Whether a stream that was placed gives way to live ones."""
        return self._places[stream].batch

    def pixels_of(self, stream: str) -> int:
        """Pixels of a frame of a stream that was placed."""
        return self._places[stream].pixels

    def streams_on(self, device: int) -> list[str]:
        """Streams of a device, in the order in which they came there."""
        return [stream for stream, place in self._places.items() if place.device == device]

    def end(self, stream: str) -> None:
        """Forget a stream."""
        self._places.pop(stream, None)

    def lose(self, device: int) -> None:
        """Place nothing on a device any more; its streams are to be placed again."""
        self._living.remove(device)
