"""What the query of a denoise request may say, and what of it makes no sense together."""

from typing import Annotated, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.datastructures import QueryParams

from dimstream_client.header_checks import MAX_INTEGER, MAX_TEXT
from dimstream_server.endpoints.http.denoising import Output
from dimstream_server.endpoints.http.frame_options import FrameOptions
from dimstream_server.endpoints.http.image_answers import JSON, PNG, allows, choose_media_type
from dimstream_server.endpoints.http.request_images import ImageChoice
from dimstream_server.endpoints.http.volume_views import View, ViewOrder
from dimstream_server.problem_details import RequestRefused

Place = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
_ALL: tuple[View, ...] = ("orthogonal", "projection")
_HEEDED_BY: dict[str, tuple[View, ...]] = {
    "time": _ALL,
    "channel": _ALL,
    "position": _ALL,
    "aspect": ("orthogonal",),
}


class DenoiseQuery(FrameOptions):
    """Query parameters of a denoise request; unknown ones are refused."""

    output: Annotated[
        Output,
        Field(
            description="`support`: instead of denoised counts, uint8 maps of where predictions stand on"
            " photons. Bits 0 and 1: 0 background, 1 uncertain, 2 signal; 4: signal is predicted; 8: without"
            " support. `sd`: instead the error bars, float32: the standard deviation of each denoised pixel,"
            " in counts; 422 where the model has none."
        ),
    ] = "denoised"
    report: Annotated[
        Literal["json"] | None, Field(description="`json`: the flags of all frames instead of pixels.")
    ] = None
    axes: Annotated[
        str | None,
        Field(
            pattern="^[PTCZptcz]{0,4}[Yy][Xx]$",
            description="Overrules the axes of the file, e.g. `ZYX` for an NPY z-stack.",
        ),
    ] = None
    z_step_um: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="From plane to plane, micrometres; overrules the file."),
    ] = None
    series: Annotated[
        str | None,
        Field(
            max_length=MAX_TEXT,
            description="Name or number (from 0) of the image that is meant, where a file holds several.",
        ),
    ] = None
    incomplete: Annotated[
        bool,
        Field(
            description="Take what is there of a stack that declares more planes, or fewer, than there are."
        ),
    ] = False
    view: Annotated[
        View | None,
        Field(
            description="Instead of the stack an 8-bit grey PNG of one z-stack: `orthogonal` slices xy, yz"
            " and xz, or the maximum `projection` along z. Planes that cannot be trusted are dimmed in"
            " slices and left out of the projection."
        ),
    ] = None
    time: Annotated[Place, Field(description="Time point that a view shows.")] = 0
    channel: Annotated[Place, Field(description="Channel that a view shows.")] = 0
    position: Annotated[Place, Field(description="Position that a view shows.")] = 0
    aspect: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="z step / pixel size of an orthogonal view; overrules the file. Where neither says"
            " it, planes are drawn 1 pixel thick.",
        ),
    ] = None

    def view_order(self) -> ViewOrder | None:
        """The picture that is asked for; None when none is.

        Raises
        ------
        RequestRefused
            bad_query: it does not go with what else is asked for.
        """
        for name, views in _HEEDED_BY.items():
            if name in self.model_fields_set and self.view not in views:
                raise RequestRefused(
                    "bad_query",
                    f"expected {name} next to view={' or view='.join(views)}, which alone heeds it, got "
                    f"{f'view={self.view}' if self.view else 'no view'}; add that or leave {name} out",
                )
        if self.view is None:
            return None
        if self.report is not None:
            raise RequestRefused(
                "bad_query", "expected view or report=json, got both; ask for the report in another request"
            )
        if self.output != "denoised":
            raise RequestRefused(
                "bad_query",
                f"expected a view of denoised counts, got output={self.output}, which shows no brightness of"
                " the sample; leave view or output out",
            )
        return ViewOrder(self.view, self.time, self.channel, self.position, self.aspect)

    def choice(self) -> ImageChoice:
        """Which image of the file is meant, and what overrules it."""
        return ImageChoice(
            axes=self.axes,
            series=self.series,
            incomplete=self.incomplete,
            below_zero=self.below_zero,
            pixel_size_um=self.pixel_size_um,
            z_step_um=self.z_step_um,
            frame_interval_s=self.frame_interval_s,
        )

    def media_type(self, accept: str) -> str:
        """The kind of answer, of those that an ``Accept`` header allows.

        Raises
        ------
        RequestRefused
            not_acceptable: it allows none that can be given.
        """
        if self.view is None:
            return JSON if self.report else choose_media_type(accept)
        if not allows(accept, PNG):
            raise RequestRefused(
                "not_acceptable",
                f"a view is {PNG}, which Accept {accept[:200]!r} does not allow; accept it or leave view out",
            )
        return PNG


def read_query(parameters: QueryParams) -> DenoiseQuery:
    """What the query of a denoise request says.

    FastAPI could read it, but looks at the declaration of each parameter anew at every request, which took a
    third of the event loop's time for a small frame.

    Raises
    ------
    RequestValidationError
    """
    try:
        return DenoiseQuery.model_validate(dict(parameters))
    except ValidationError as error:
        raise RequestValidationError(
            [{**one, "loc": ("query", *one["loc"])} for one in error.errors(include_url=False)]
        ) from None
