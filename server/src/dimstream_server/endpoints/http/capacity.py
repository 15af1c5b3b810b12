"""How much of HTTP goes on at once: requests that are denoised, and bytes on their way in or out.

The event loop owns both. A body may arrive, and an answer leave, slowly; so they hold bytes of a budget of
their own, and none of the places where frames are denoised.
"""

from collections import Counter
from collections.abc import Hashable
from types import TracebackType
from typing import Self

from dimstream_server.errors import ServerBusy


class Slots:
    """Places for requests that are denoised.

    Parameters
    ----------
    total, per_client : int
        Requests of all clients, and of one.
    """

    def __init__(self, total: int, per_client: int) -> None:
        self._total = total
        self._per_client = per_client
        self._taken: Counter[Hashable] = Counter()
        self._open = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request is denoised, and no answer is leaving."""
        return not self._open

    def check(self, client: Hashable) -> None:
        """Whether a request of a client would get a place now.

        Raises
        ------
        ServerBusy
            It would not.
        """
        if self._taken.total() >= self._total:
            raise ServerBusy(
                f"{self._taken.total()} requests are being denoised, which is the limit; try again"
            )
        if self._taken[client] >= self._per_client:
            raise ServerBusy(
                f"{self._taken[client]} requests of this client are being denoised, as many as one may have "
                "(limits.max_requests_per_client); wait for one of them, or try again"
            )

    def take(self, client: Hashable) -> "Slot":
        """Give a request of a client its place.

        Raises
        ------
        ServerBusy
            There is none.
        """
        self.check(client)
        self._taken[client] += 1
        self._open += 1
        return Slot(self, client)

    def _vacate(self, client: Hashable) -> None:
        self._taken[client] -= 1
        self._taken += Counter()  # forgets who has none any more

    def _close(self) -> None:
        self._open -= 1


class Slot:
    """The place of one request."""

    def __init__(self, slots: Slots, client: Hashable) -> None:
        self._slots = slots
        self._client = client
        self._is_taken = self._is_open = True

    def vacate(self) -> None:
        """Let another request have the place; the answer is still to leave."""
        if self._is_taken:
            self._is_taken = False
            self._slots._vacate(self._client)

    def close(self) -> None:
        """The answer has left, or there is none."""
        self.vacate()
        if self._is_open:
            self._is_open = False
            self._slots._close()


class Buffers:
    """A budget of bytes, of which one client gets half at most.

    Parameters
    ----------
    total : int
        Bytes of all bodies that are arriving and answers that are leaving.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._per_client = total // 2
        self._held: Counter[Hashable] = Counter()
        self._sum = 0

    @property
    def held_bytes(self) -> int:
        """Of all clients together."""
        return self._sum

    def share(self, client: Hashable) -> "Share":
        """What one request of a client will hold of it."""
        return Share(self, client)

    def _take(self, client: Hashable, count: int) -> bool:
        if self._sum + count > self._total or self._held[client] + count > self._per_client:
            return False
        self._sum += count
        self._held[client] += count
        return True

    def _give_back(self, client: Hashable, count: int) -> None:
        self._sum -= count
        self._held[client] -= count
        if not self._held[client]:
            del self._held[client]


class Share:
    """Bytes that one request holds, as a context that gives them back."""

    def __init__(self, buffers: Buffers, client: Hashable) -> None:
        self._buffers = buffers
        self._client = client
        self._count = 0

    def take(self, count: int) -> bool:
        """Hold so many bytes more; False where they are not to be had."""
        if not self._buffers._take(self._client, count):
            return False
        self._count += count
        return True

    def close(self) -> None:
        """Give all of them back."""
        self._buffers._give_back(self._client, self._count)
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
