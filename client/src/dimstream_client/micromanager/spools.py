"""What programs that ended without closing have left in the spool."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from dimstream_client import arguments
from dimstream_client.client import Client
from dimstream_client.errors import StreamError
from dimstream_client.keys import FilePath
from dimstream_client.messages import Result
from dimstream_client.session import FINAL_CODES

_log = logging.getLogger("dimstream")


def resume_spools(
    client: Client, spool: FilePath, *, on_result: Callable[[Result], object] | None = None
) -> dict[Path, int]:
    """Go on with every stream that is left in a spool, and wait for its results.

    Parameters
    ----------
    spool : path
        The folder that `MdaStream` had.
    on_result : callable, optional
        Called with each result.

    Returns
    -------
    dict of Path to int
        How many results came for the stream in each folder.

    Raises
    ------
    SpoolError
        Another program uses it.
    StreamError
        bad_token: the server does not know a stream any more. Its frames stay where they are.
    Timeout, ConnectionLost
    """
    arguments.callback("on_result", on_result)
    found = sorted(path.parent for path in arguments.folder("spool", spool).glob("*/stream.json"))
    return {folder: _resume(client, folder, on_result) for folder in found}


def _resume(client: Client, folder: Path, on_result: Callable[[Result], object] | None) -> int:
    stream = client.resume(folder)
    stream.finish()
    results = 0
    while True:
        try:
            result = stream.take()
        except StreamError as error:
            if error.code in FINAL_CODES or error.seq is None:
                raise
            _log.error("%s: frame %d was refused: %s", folder, error.seq, error)
            continue
        if result is None:
            return results
        results += 1
        if on_result is not None:
            on_result(result)
