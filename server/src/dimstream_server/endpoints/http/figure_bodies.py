"""Figures of frames as an analysis sends them, and what it is answered, as the OpenAPI document shows it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, WithJsonSchema

from dimstream_client.header_checks import MAX_INTEGER
from dimstream_models.er_figures import FIGURES, Figure
from dimstream_server.endpoints.http.json_bodies import Body
from dimstream_server.endpoints.http.json_requests import AskedBody

LARGEST_FIGURE: Final = 1e15
_Seq = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


def _known(figures: dict[str, float | None]) -> dict[str, float | None]:
    if not figures:
        raise ValueError(f"expected at least one of {', '.join(FIGURES)}, got none")
    for name, value in figures.items():
        if name not in FIGURES:
            raise ValueError(f"{name[:100]!r} is not a figure; GET /v1/figures lists them")
        if value is None:
            continue
        if not math.isfinite(value) or abs(value) > LARGEST_FIGURE:
            raise ValueError(f"{name}: expected a number up to {LARGEST_FIGURE:g} or null, got {value}")
        if FIGURES[name].counted and (value < 0 or value != int(value)):
            raise ValueError(f"{name}: expected a whole number from 0, got {value}")
    return figures


def _schema_of_figures() -> dict[str, Any]:
    def of(figure: Figure) -> dict[str, Any]:
        number = {"type": "number", "minimum": -LARGEST_FIGURE, "maximum": LARGEST_FIGURE}
        count = {"type": "integer", "minimum": 0, "maximum": LARGEST_FIGURE}
        kinds = [count if figure.counted else number, {"type": "null"}]
        return {"description": figure.titled(scaled=False), "anyOf": kinds}

    return {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {name: of(figure) for name, figure in FIGURES.items()},
    }


class FoundBody(AskedBody):
    """What an analysis found of one frame."""

    seq: _Seq = Field(description="number of the frame in its stream")
    plane: tuple[_Seq, _Seq, _Seq] = Field(description="channel, z, position of the frame")
    analysis: str = Field(
        pattern=r"^[A-Za-z][ -~]{0,299}$", description="by what it was analysed: ASCII, from a letter on"
    )
    figures: Annotated[
        dict[str, float | None],
        AfterValidator(_known),
        WithJsonSchema(_schema_of_figures()),
    ] = Field(description="by name, in px where they have a unit; null: there was nothing to measure")


class TakenBody(Body):
    """What became of the figures of a frame."""

    stream: str
    seq: int
    flag: str = Field(description="of the frame: figures of others than `ok` are marked")
    recorded: bool = Field(description="whether they are in the recording's analysis.csv")
    reason: str | None = Field(description="why they are not")


class FigureBody(Body):
    """A figure that can be sent."""

    name: str
    title: str
    definition: str
    unit_px: str = Field(description="as it is sent; empty: none")
    unit_um: str = Field(description="as it is shown where the size of pixels is known")
    counted: bool = Field(description="whether it is a whole number")

    @classmethod
    def of(cls, figure: Figure) -> Self:
        """The description of a figure."""
        return cls(
            name=figure.name,
            title=figure.title,
            definition=figure.definition,
            unit_px=figure.unit(scaled=False),
            unit_um=figure.unit(scaled=True),
            counted=figure.counted,
        )


class FiguresBody(Body):
    """All figures that can be sent."""

    figures: list[FigureBody]
