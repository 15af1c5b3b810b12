"""``[live]``: the live view."""

from typing import Annotated

from pydantic import Field

from dimstream_server.settings.table import MIB, MOST_BYTES, Table


class LiveTable(Table):
    """``[live]``: the live view."""

    memory_bytes: Annotated[
        int, Field(ge=0, le=MOST_BYTES, description="bytes of the newest frames, which can be shown again")
    ] = 256 * MIB
    max_viewers: Annotated[
        int, Field(ge=0, le=1024, description="viewers at the same time, half of them of one client; 0: none")
    ] = 32
    max_frames_per_s: Annotated[
        float, Field(gt=0, le=100, description="frames that one viewer is sent in a second")
    ] = 10.0
