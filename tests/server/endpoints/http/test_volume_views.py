"""Pictures of denoised z-stacks: which stack, which planes, on which scale."""

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from shipped import BUNDLE

from dimstream_client.files import ImageStack, Scale, open_images
from dimstream_client.messages import PlaneIndex
from dimstream_client.quality import SHIPPED, QualityMetrics, Thresholds, Times
from dimstream_models.bundle import read_bundle
from dimstream_server.endpoints.http.image_answers import StackSink
from dimstream_server.endpoints.http.volume_views import ViewSink
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.pipeline.thresholds import thresholds_of
from dimstream_server.problem_details import RequestRefused

GAP_PX = 6


def stack_of(
    axes: str = "ZYX", shape: tuple[int, ...] = (6, 12, 16), scale: Scale | None = None
) -> ImageStack:
    counts = np.random.default_rng(5).integers(0, 60000, shape, dtype=np.uint16)
    scale = scale or Scale((0.02, 0.02), 0.04)
    return opened(counts, axes, pixel_size_um=scale.pixel_size_um, z_step_um=scale.z_step_um)


def opened(counts: NDArray[Any], axes: str, **scale: Any) -> ImageStack:
    file = io.BytesIO()
    np.save(file, counts)
    return open_images(file.getvalue(), axes=axes, **scale)


def result_of(seq: int, *, structure_score: float) -> EngineResult:
    quality = QualityMetrics(structure_score=structure_score, unsupported_fraction=0.1, ssim_z=0.8)
    return EngineResult(
        seq=seq,
        status="done",
        flag="unjudged",
        reason="first frame",
        ssim_prev=None,
        compared_seq=None,
        fractions=None,
        quality=quality,
        model_sha256="ab",
        t_ms=Times(0.0, 1.0, 1.0),
        pixels=None,
        model_id="er",
    )


def fill(sink: ViewSink, stack: ImageStack, *, structures: list[float] | None = None) -> Any:
    for n in range(len(stack)):
        index = stack.index(n)
        if structures is not None:
            sink.note(index, result_of(n, structure_score=structures[index.z]))
        sink.write(stack.read(n))
    return imagecodecs.png_decode(bytes(sink.finish()))


def drawn(counts: Any, all_counts: Any) -> Any:
    black, white = np.quantile(all_counts, [0.001, 0.999])
    return np.clip((counts - black) / (white - black) * 255, 0, 255)


def test_it_is_a_sink_of_stacks() -> None:
    sink: StackSink = ViewSink(stack_of(), "uint16", view="projection")
    assert isinstance(sink, ViewSink)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_the_projection_is_the_maximum_over_z(dtype: str) -> None:
    stack = stack_of()
    frames = np.stack([stack.read(n) for n in range(6)])
    picture = fill(ViewSink(stack, dtype, view="projection"), stack)
    np.testing.assert_allclose(picture, drawn(frames.max(axis=0), frames), atol=0.51)


def test_the_slices_have_the_aspect_of_the_stack() -> None:
    stack = stack_of()
    sink = ViewSink(stack, "uint16", view="orthogonal")
    frames = np.stack([stack.read(n) for n in range(6)])
    picture = fill(sink, stack)
    assert picture.shape == (12 + GAP_PX + 12, 16 + GAP_PX + 12)
    np.testing.assert_allclose(picture[:12, :16], drawn(frames[3], frames), atol=0.51)
    np.testing.assert_allclose(picture[12 + GAP_PX :: 2, :16], drawn(frames[:, 6], frames), atol=0.51)
    assert sink.shown == "t=0, c=0, p=0, keep=unjudged, plane=3, row=6, column=8, aspect=2"


def test_one_time_point_and_channel_is_drawn_on_the_scale_of_all_its_times() -> None:
    stack = stack_of("TZCYX", (3, 4, 2, 12, 16))
    frames = np.stack([stack.read(n) for n in range(len(stack))]).reshape(stack.shape)
    frames[0, :, 1] //= 2
    stack = opened(frames, "TZCYX")
    picture = fill(ViewSink(stack, "uint16", view="projection", time=0, channel=1), stack)
    np.testing.assert_allclose(picture, drawn(frames[0, :, 1].max(axis=0), frames[:, :, 1]), atol=0.51)


def test_planes_that_are_not_trusted_are_left_out() -> None:
    stack = stack_of()
    frames = np.stack([stack.read(n) for n in range(6)])
    structures = [1.0, 20.0, 20.0, 20.0, 1.0, 1.0]
    sink = ViewSink(stack, "uint16", view="projection", thresholds=SHIPPED)
    picture = fill(sink, stack, structures=structures)
    np.testing.assert_allclose(picture, drawn(frames[1:4].max(axis=0), frames), atol=0.51)
    assert "keep=1-3" in sink.shown
    sink = ViewSink(stack, "uint16", view="orthogonal", thresholds=SHIPPED)
    picture = fill(sink, stack, structures=structures)
    assert "plane=2" in sink.shown
    assert (picture[12 + GAP_PX + 1, :16] == 255).all()  # the line before the first plane that is kept
    np.testing.assert_allclose(picture[12 + GAP_PX, :16], drawn(frames[0, 6], frames) * 0.4, atol=1.01)


def test_nothing_trusted_is_told() -> None:
    stack = stack_of()
    sink = ViewSink(stack, "uint16", view="orthogonal", thresholds=SHIPPED)
    fill(sink, stack, structures=[1.0] * 6)
    assert "keep=none" in sink.shown


def test_a_stack_without_scale_is_drawn_one_pixel_a_plane_and_says_so() -> None:
    stack = stack_of(scale=Scale())
    sink = ViewSink(stack, "uint16", view="orthogonal")
    assert fill(sink, stack).shape == (12 + GAP_PX + 6, 16 + GAP_PX + 6)
    assert sink.shown.endswith("aspect=unknown")


def test_the_aspect_can_be_told_and_a_projection_has_none() -> None:
    stack = stack_of()
    picture = fill(ViewSink(stack, "uint16", view="orthogonal", aspect=3.0), stack)
    assert picture.shape == (12 + GAP_PX + 18, 16 + GAP_PX + 18)
    thick = stack_of(scale=Scale((0.02, 0.02), 1e6))
    assert fill(ViewSink(thick, "uint16", view="projection"), thick).shape == (12, 16)


def test_holes_are_told() -> None:
    stack = stack_of()
    sink = ViewSink(stack, "uint16", view="projection", thresholds=SHIPPED)
    fill(sink, stack, structures=[20.0, 1.0, 20.0, 1.0, 20.0, 20.0])
    assert sink.shown.endswith("keep=0-5, untrusted=1 3")


REFUSED: dict[str, tuple[ImageStack, dict[str, Any], str]] = {
    "movie": (stack_of("TYX"), {}, "not_acceptable"),
    "single plane": (stack_of("ZYX", (1, 12, 16)), {}, "not_acceptable"),
    "z step of a metre": (stack_of(scale=Scale((0.02, 0.02), 1e6)), {}, "not_acceptable"),
    "no such time": (stack_of(), {"time": 1}, "bad_query"),
    "no such channel": (stack_of("CZYX", (2, 3, 12, 16)), {"channel": 2}, "bad_query"),
    "time below 0": (stack_of(), {"time": -1}, "bad_query"),
}


@pytest.mark.parametrize(("stack", "options", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_drawn_is_refused_before_anything_is_denoised(
    stack: ImageStack, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        ViewSink(stack, "uint16", view="orthogonal", **options)
    assert refused.value.code == code


def test_what_the_client_judges_by_unless_told_otherwise_is_what_ships() -> None:
    assert thresholds_of(read_bundle(BUNDLE)) == SHIPPED


def test_without_a_threshold_of_ssim_no_plane_is_judged() -> None:
    stack = stack_of("ZYX", (3, 12, 16))
    sink = ViewSink(stack, "uint16", view="projection", thresholds=Thresholds(ssim=None))
    for n in range(len(stack)):
        sink.note(stack.index(n), result_of(n, structure_score=1.0))
        sink.write(np.zeros((12, 16), np.uint16))
    sink.finish()
    assert "keep=unjudged" in sink.shown


def test_frames_of_other_channels_are_not_noted() -> None:
    stack = stack_of("CZYX", (2, 3, 12, 16))
    sink = ViewSink(stack, "uint16", view="projection", thresholds=SHIPPED, channel=1)
    for n in range(len(stack)):
        index = stack.index(n)
        sink.note(
            index, result_of(n, structure_score=20.0 if index.c == 1 or index == PlaneIndex(z=9) else 1.0)
        )
        sink.write(stack.read(n))
    sink.finish()
    assert "keep=0-2" in sink.shown
