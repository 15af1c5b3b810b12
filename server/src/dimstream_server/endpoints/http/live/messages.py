"""The messages of the live view's WebSocket: bytes to viewers, JSON from them (`docs/live-view.md`)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dimstream_models.er_figures import FIGURES

PROTOCOL: Final = "dimstream-live-1"
MOST_VIEWS: Final = 16
MOST_ROIS: Final = 8
MOST_FIGURES: Final = 8
_ALIGNED: Final = 8
_LONGEST_REASON: Final = 123  # bytes, RFC 6455, 5.5
_Whole = Annotated[int, Field(ge=0, le=2**53)]


class BadMessage(ValueError):
    """A viewer sent what is no message; the text says what was expected."""


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Roi(_Body):
    """A rectangle of pixels whose mean is followed."""

    x: _Whole
    y: _Whole
    width: Annotated[int, Field(ge=1, le=2**31)]
    height: Annotated[int, Field(ge=1, le=2**31)]


def _known(name: str) -> str:
    if name not in FIGURES:
        raise ValueError("not a figure; GET /v1/figures lists them")
    return name


class View(_Body):
    """What a viewer wants of one stream.

    Parameters
    ----------
    plane : (channel, z, position) or None
        None: whichever comes.
    seq : int or None
        The frame that is shown; None: always the newest.
    step : int
        Every so many pixels, in both directions.
    rows : bool
        Whether the timeline is wanted.
    er : tuple of str
        Figures of the ER that are wanted of all frames that were analysed, by name.
    """

    stream: Annotated[str, Field(max_length=64)]
    plane: tuple[_Whole, _Whole, _Whole] | None = None
    seq: _Whole | None = None
    parts: Annotated[tuple[Literal["raw", "denoised", "support"], ...], Field(max_length=3)] = ()
    step: Annotated[int, Field(ge=1, le=64)] = 1
    rows: bool = False
    rois: Annotated[tuple[Roi, ...], Field(max_length=MOST_ROIS)] = ()
    er: Annotated[tuple[Annotated[str, AfterValidator(_known)], ...], Field(max_length=MOST_FIGURES)] = ()


class Watch(_Body):
    """What a viewer wants from now on, in place of what it wanted before."""

    type: Literal["watch"]
    views: Annotated[tuple[View, ...], Field(max_length=MOST_VIEWS)]


class Done(_Body):
    """How many messages the viewer has dealt with since it connected."""

    type: Literal["done"]
    count: _Whole


_Message: TypeAdapter[Watch | Done] = TypeAdapter(Annotated[Watch | Done, Field(discriminator="type")])


def parse(text: str) -> Watch | Done:
    """The message of a viewer.

    Raises
    ------
    BadMessage
    """
    try:
        return _Message.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = " ".join(str(part) for part in first["loc"])
        raise BadMessage(_shortened(f"{where}: {first['msg']}")) from error


def _shortened(reason: str) -> str:
    """What fits into a close frame, whatever the viewer wrote."""
    return reason.encode()[:_LONGEST_REASON].decode(errors="ignore")


def pack(header: Mapping[str, Any], arrays: Sequence[tuple[str, NDArray[Any]]] = ()) -> bytes:
    """A message to a viewer: the header's length (uint32), the header (JSON), then each array.

    Everything is little-endian. Arrays begin at multiples of 8 bytes; `parts` of the header says where.
    """
    parts: list[dict[str, Any]] = []
    blocks: list[Any] = []
    at = 0
    for name, array in arrays:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        parts.append({"name": name, "dtype": little.dtype.name, "shape": little.shape, "offset": at})
        padding = -little.nbytes % _ALIGNED
        blocks += [little.data, bytes(padding)]
        at += little.nbytes + padding
    text = json.dumps({**header, "parts": parts}, allow_nan=False, separators=(",", ":")).encode()
    start = -(-(4 + len(text)) // _ALIGNED) * _ALIGNED
    return b"".join([struct.pack("<I", start - 4), text.ljust(start - 4), *blocks])
