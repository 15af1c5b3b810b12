"""Resume streams that interrupted programs left in the spool."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from dimstream_client import arguments
from dimstream_client.client import Client
from dimstream_client.errors import StreamError
from dimstream_client.keys import FilePath
from dimstream_client.messages import Result
from dimstream_client.session import FINAL_CODES
from dimstream_client.stream import Stream

_log = logging.getLogger("dimstream")


def resume_spools(
    client: Client, spool: FilePath, *, on_result: Callable[[Result], object] | None = None
) -> dict[Path, int]:
    """Resume every stream in a spool, and wait for its results.

    Parameters
    ----------
    spool : path
        The spool folder of `MdaStream`.
    on_result : callable, optional
        Called with each result.

    Returns
    -------
    dict of Path to int
        Number of results for the stream in each folder.

    Raises
    ------
    SpoolError
        When another program uses it.
    StreamError
        bad_token: when the server no longer has a stream. Its frames stay in the spool.
    Timeout, ConnectionLost
    """
    arguments.callback("on_result", on_result)
    found = left_in(arguments.folder("spool", spool))
    return {folder: _resume(client, folder, on_result) for folder in found}


def left_in(spool: Path) -> list[Path]:
    """Return the folders of the streams in a spool."""
    return sorted(path.parent for path in spool.glob("*/stream.json"))


def results_of(stream: Stream, refused: Callable[[StreamError], object]) -> Iterator[Result]:
    """Take the results of a stream until its end; call `refused` for each refused frame.

    Raises
    ------
    StreamError
        When the stream itself has failed.
    Timeout, ConnectionLost
    """
    while True:
        try:
            result = stream.take()
        except StreamError as error:
            if error.code in FINAL_CODES or error.seq is None:
                raise
            refused(error)
            continue
        if result is None:
            return
        yield result


def _resume(client: Client, folder: Path, on_result: Callable[[Result], object] | None) -> int:
    stream = client.resume(folder)
    stream.finish()
    count = 0

    def refused(error: StreamError) -> None:
        _log.error("%s: frame %d was refused: %s", folder, error.seq, error)

    for result in results_of(stream, refused):
        count += 1
        if on_result is not None:
            on_result(result)
    return count
