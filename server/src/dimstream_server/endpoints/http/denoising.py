"""One request's stack through one short engine stream, in a worker thread that may wait."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from numpy.typing import NDArray

from dimstream_client.files import ImageStack
from dimstream_client.messages import Frame, PlaneIndex
from dimstream_models.quality.detector import Detector
from dimstream_server.endpoints.http.frame_options import FrameOptions, spec_of
from dimstream_server.endpoints.http.image_answers import JSON, StackSink, open_sink
from dimstream_server.endpoints.http.request_images import ImageChoice, open_body
from dimstream_server.endpoints.http.volume_views import ViewOrder, ViewSink
from dimstream_server.engine.protocol import EngineResult, ModelInfo, StreamSpec
from dimstream_server.errors import FrameFailed
from dimstream_server.streams import RequestStream, StreamService

ENDPOINT = "http"
Output = Literal["denoised", "support", "sd"]


class Abandoned(Exception):
    """The client has gone; nobody waits for the answer."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for.

    Parameters
    ----------
    output : {"denoised", "support", "sd"}
        What a file holds: denoised counts of `out_dtype`, support maps, or error bars.
    choice : ImageChoice
        Which image of the file is meant, and what overrules it.
    view : ViewOrder or None
        The picture that is given instead of the stack.
    client : str
        Who asks, for the list of streams.
    """

    model: ModelInfo
    body: bytes | bytearray
    content_type: str
    media_type: str
    options: FrameOptions
    output: Output = "denoised"
    choice: ImageChoice = ImageChoice()  # noqa: RUF009  # it never changes
    view: ViewOrder | None = None
    client: str = ""

    @property
    def detector(self) -> Detector | None:
        """By which frames are turned into photons; None: their values are photons."""
        return self.options.detector

    @property
    def dtype(self) -> str:
        """Pixel type of the answer."""
        return {"support": "uint8", "sd": "float32"}.get(self.output, self.options.out_dtype)

    def wants(self, output: Output) -> bool:
        """Whether the answer is a file of this."""
        return self.media_type != JSON and self.output == output


@dataclass(frozen=True, slots=True)
class Denoised:
    """What a request gets: the file, and a flag for each frame, its pixels taken off.

    Parameters
    ----------
    view : str or None
        What a picture shows, for a header; None of a stack.
    remarks : tuple of str
        What was not found in the file, or is doubtful, or was left out.
    """

    file: memoryview | bytes
    axes: str
    shape: tuple[int, ...]
    frames: tuple[tuple[PlaneIndex, EngineResult], ...]
    view: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Denoiser:
    """Fills orders by the streams of the service.

    Parameters
    ----------
    window : int
        Frames of one request that wait in the engine at once.
    max_bytes, max_frame_bytes : int
        Largest stack and frame, unpacked.
    """

    service: StreamService
    window: int
    max_bytes: int
    max_frame_bytes: int

    def open(self, body: bytes | bytearray, content_type: str, choice: ImageChoice) -> ImageStack:
        """The stack that a body holds; all of its frames can be read.

        Raises
        ------
        RequestRefused, dimstream_client.errors.TiffError
        """
        return open_body(
            *(body, content_type),
            choice=choice,
            max_bytes=self.max_bytes,
            max_frame_bytes=self.max_frame_bytes,
        )

    def denoise(self, order: Order, gone: threading.Event) -> Denoised:
        """The denoised file and its flags; blocks until they are there.

        Raises
        ------
        Abandoned
            `gone` was set meanwhile.
        ServerError, dimstream_client.errors.DimstreamError
            The body or the stack is refused, or a frame failed whose pixels were wanted.
        """
        stack = self.open(order.body, order.content_type, order.choice)
        with closing(stack):
            picture = _picture(order, stack)
            sink: StackSink = picture or open_sink(order.media_type, stack, order.dtype)
            frames = []
            for index, result in self.results(stack, _spec(order, stack), gone, client=order.client):
                if picture is not None:
                    picture.note(index, result)
                image = _image(order.output, result)
                if image is not None:
                    sink.write(image)
                elif order.media_type != JSON:
                    raise FrameFailed(f"frame {result.seq} failed: {result.error}")
                bare = replace(result, pixels=None, support=None, sd=None)  # the sink has them
                frames.append((index, bare))
            file, shape = sink.finish(), tuple(stack.shape)
            stated = picture.shown if picture else None
            return Denoised(file, stack.axes, shape, tuple(frames), stated, stack.remarks)

    def results(
        self, stack: ImageStack, spec: StreamSpec, gone: threading.Event, *, client: str
    ) -> Iterator[tuple[PlaneIndex, EngineResult]]:
        """Results in the order of the frames; each (c, z, p) plane is compared with its own past.

        Raises
        ------
        Abandoned
            `gone` was set meanwhile.
        ServerError, dimstream_client.errors.DimstreamError
        """
        opened = self.service.open_request(spec, endpoint=ENDPOINT, client=client, window=self.window)
        with opened as stream:
            for seq in range(len(stack)):
                if gone.is_set():
                    raise Abandoned
                if stream.is_full:
                    yield _taken(stream)
                stream.submit(Frame(stream.id, seq, stack.read(seq), stack.index(seq)))
            while len(stream):
                yield _taken(stream)


def _spec(order: Order, stack: ImageStack) -> StreamSpec:
    return spec_of(
        *(order.model.id, order.options, stack),
        denoised=order.wants("denoised"),
        support=order.wants("support"),
        sd=order.wants("sd"),
    )


def _image(output: Output, result: EngineResult) -> NDArray[Any] | None:
    return {"denoised": result.pixels, "support": result.support, "sd": result.sd}[output]


def _taken(stream: RequestStream) -> tuple[PlaneIndex, EngineResult]:
    frame, result = stream.take()
    return frame.index, result


def _picture(order: Order, stack: ImageStack) -> ViewSink | None:
    """Where the frames are drawn; None when they are not."""
    if order.view is None:
        return None
    return ViewSink(stack, order.dtype, **asdict(order.view), thresholds=order.model.thresholds)
