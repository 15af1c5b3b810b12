"""Two Linux network namespaces and a wire that loses, delays and throttles their real IP packets.

The wire is two TUN devices and a thread that carries packets from one to the other: unlike ``tc netem`` it
needs no kernel module. Root is needed.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
HOSTS = ("10.213.77.1", "10.213.77.2")
_MOST_WAITING = 512  # packets that a throttled wire holds; the next is lost, as in a switch


class NoNetworks(Exception):
    """Why this machine cannot have network namespaces."""


class Wire:
    """The wire: change its attributes while it runs.

    Attributes
    ----------
    loss : float
        Share of packets that are lost, each way.
    delay_s : float
    bytes_per_s : float or None
        Each way.
    is_cut : bool
        Nothing arrives, and nobody is told.
    """

    def __init__(self, ends: tuple[int, int], seed: int) -> None:
        self.loss, self.delay_s, self.is_cut = 0.0, 0.0, False
        self.bytes_per_s: float | None = None
        self.carried = self.lost = 0
        self._ends = ends
        self._chance = random.Random(seed)
        self._free_at = [0.0, 0.0]
        self._number = 0
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._stop_out, self._stop_in = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def mend(self) -> None:
        """Be a good wire again."""
        self.loss, self.delay_s, self.bytes_per_s, self.is_cut = 0.0, 0.0, None, False

    def close(self) -> None:
        """Carry nothing more."""
        os.write(self._stop_in, b"x")
        self._thread.join()
        for each in (self._stop_out, self._stop_in, *self._ends):
            os.close(each)

    def _run(self) -> None:
        while True:
            wait = None if not self._under_way else max(0.0, self._under_way[0][0] - time.monotonic())
            ready, _, _ = select.select([*self._ends, self._stop_out], [], [], wait)
            if self._stop_out in ready:
                return
            for side, end in enumerate(self._ends):
                if end in ready:
                    self._take(side, os.read(end, 65536))
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                _, _, side, packet = heapq.heappop(self._under_way)
                self.carried += 1
                os.write(self._ends[1 - side], packet)

    def _take(self, side: int, packet: bytes) -> None:
        if self.is_cut or self._chance.random() < self.loss or len(self._under_way) > _MOST_WAITING:
            self.lost += 1
            return
        begins = max(time.monotonic(), self._free_at[side])
        takes_s = 0.0 if self.bytes_per_s is None else len(packet) / self.bytes_per_s
        self._free_at[side] = begins + takes_s
        self._number += 1
        heapq.heappush(self._under_way, (begins + takes_s + self.delay_s, self._number, side, packet))


@contextmanager
def two_networks(seed: int) -> Iterator[tuple[Wire, tuple[str, str]]]:
    """Give a wire and the names of the namespaces at its ends, which have the addresses `HOSTS`.

    Raises
    ------
    NoNetworks
        This machine cannot have them, with the reason.
    """
    names = (f"dimstream-{os.getpid()}-a", f"dimstream-{os.getpid()}-b")
    made: list[str] = []
    ends: list[int] = []
    try:
        for number, name in enumerate(names):
            _ip("netns", "add", name)
            made.append(name)
            ends.append(_tun(device := f"dimf{os.getpid() % 10**6}{number}"))
            _ip("link", "set", device, "netns", name)
            _ip("-n", name, "addr", "add", HOSTS[number], "peer", HOSTS[1 - number], "dev", device)
            _ip("-n", name, "link", "set", device, "up")
            _ip("-n", name, "link", "set", "lo", "up")
    except BaseException:
        _remove(made, ends)
        raise
    wire = Wire((ends[0], ends[1]), seed)
    try:
        yield wire, names
    finally:
        wire.close()
        _remove(made, [])


def within(name: str) -> list[str]:
    """What is put before a command that shall run in a namespace."""
    return ["ip", "netns", "exec", name]


def _tun(name: str) -> int:
    try:
        end = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        raise NoNetworks(f"no TUN device can be made: {error}") from error
    return end


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NoNetworks("there is no command `ip`") from error
    except subprocess.CalledProcessError as error:
        raise NoNetworks(f"`ip {' '.join(words)}`: {error.stderr.strip()}") from error


def _remove(names: list[str], ends: list[int]) -> None:
    for end in ends:
        os.close(end)
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
