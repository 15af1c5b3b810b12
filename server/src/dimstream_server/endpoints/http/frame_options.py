"""How the frames of a request are denoised, whichever way the request says it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dimstream_client.files import ImageStack
from dimstream_client.header_checks import MAX_GAIN, MAX_INTEGER, MAX_OFFSET, MIN_GAIN
from dimstream_models.quality.detector import Detector
from dimstream_server.engine.protocol import OutDtype, Priority, StreamSpec


class FrameOptions(BaseModel):
    """What holds for all frames of a request; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out_dtype: Annotated[OutDtype, Field(description="Pixel type of the denoised counts.")] = "uint16"
    split_every: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_INTEGER,
            description="Split the photons of every n-th time point, from 0 on, and judge its frames by both"
            " halves: two more inferences each. 1 judges single images, 0 splits none.",
        ),
    ] = 0
    frame_interval_s: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="Seconds between time points; overrules the file."),
    ] = None
    pixel_size_um: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="Side of a pixel, micrometres; overrules the file."),
    ] = None
    offset: Annotated[
        float | None,
        Field(
            ge=-MAX_OFFSET,
            le=MAX_OFFSET,
            allow_inf_nan=False,
            description="Value that the detector gives without light; frames become photons by"
            " (value - offset) / gain before anything else. Default 0.",
        ),
    ] = None
    gain: Annotated[
        float | None,
        Field(
            ge=MIN_GAIN,
            le=MAX_GAIN,
            allow_inf_nan=False,
            description="Detector units per photon. Default 1.",
        ),
    ] = None
    match_pixel_size: Annotated[
        bool,
        Field(
            description="Scatter the photons onto finer pixels where the model knows only such, and bin the"
            " results back; needs the pixel size and whole photons."
        ),
    ] = False
    priority: Annotated[
        Priority,
        Field(description="`batch`: work that may wait; its frames give way to those of all live streams."),
    ] = "live"

    @property
    def detector(self) -> Detector | None:
        """By which frames are turned into photons; None: their values are photons."""
        return Detector.given(self.offset, self.gain)

    @property
    def below_zero(self) -> bool:
        """Whether values below zero are taken, since a detector's offset is subtracted."""
        return self.offset is not None or self.gain is not None


def spec_of(
    model: str, options: FrameOptions, stack: ImageStack, *, denoised: bool, support: bool, sd: bool
) -> StreamSpec:
    """What the engine is asked to open for the frames of a stack.

    Parameters
    ----------
    denoised, support, sd : bool
        Which images its results carry.
    """
    given: dict[Literal["in_dtype"], Any] = {"in_dtype": stack.dtype}
    return StreamSpec(
        model=model,
        shape=stack.frame_shape,
        out_dtype=options.out_dtype,
        deliver_pixels=denoised,
        deliver_maps=support,
        deliver_sd=sd,
        split_every=options.split_every,
        frame_interval_s=stack.scale.frame_interval_s,
        detector=options.detector,
        pixel_size_um=stack.square_pixel_um,
        match_pixel_size=options.match_pixel_size,
        priority=options.priority,
        **given,
    )
