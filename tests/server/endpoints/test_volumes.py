"""Z-stacks on both endpoints, with a real engine: views, reports, and what `dimstream` says of them."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from dimstream_client.cli import main
from dimstream_client.files import Scale
from dimstream_client.files.tiff_writer import StackWriter
from dimstream_models.bundle import Bundle

PATH = "/v1/models/identity/denoise"
SHAPE = (40, 48)
GAP_PX = 6
DEPTH = 8
KEPT = (2, 5)
"""First and last plane with a sample."""


def z_stack(*, times: int = 1, kept: tuple[int, int] = KEPT, seed: int = 0) -> NDArray[np.uint16]:
    """(T, Z, H, W) photons: two filaments that drift with z, on a dark field; noise in the other planes."""
    planes, rows, columns = np.mgrid[:DEPTH, : SHAPE[0], : SHAPE[1]]
    distance = np.minimum(abs(rows - columns * 0.6 - 4 - planes / 3), abs(rows + columns * 0.3 - 34))
    inside = (planes >= kept[0]) & (planes <= kept[1])
    photons = 0.5 + 60 * np.exp(-((distance / 2) ** 2)) * inside
    return np.random.default_rng(seed).poisson(photons, (times, *photons.shape)).astype(np.uint16)


def tiff(counts: NDArray[np.uint16], axes: str, scale: Scale | None = None) -> bytes:
    file = io.BytesIO()
    told = scale or Scale((0.02, 0.02), 0.06)
    with StackWriter(file, axes=axes, shape=counts.shape, dtype="uint16", scale=told) as writer:
        for frame in counts.reshape(-1, *counts.shape[-2:]):
            writer.write(frame)
    return file.getvalue()


def drawn(counts: Any, all_counts: Any) -> Any:
    black, white = np.quantile(all_counts, [0.001, 0.999])
    return np.clip((counts - black) / (white - black) * 255, 0, 255)


@pytest.fixture
def bundle_of(tiny_bundle: Callable[..., Bundle]) -> Callable[..., Bundle]:
    """The network `identity`, that asks for structure."""

    def make(*, threshold: float | None = 0.3) -> Bundle:
        bundle = tiny_bundle("identity", threshold=threshold, split=0.3)
        assert bundle.config is not None
        thresholds = bundle.config.thresholds.model_copy(update={"structure_score": 5.0})
        return replace(bundle, config=bundle.config.model_copy(update={"thresholds": thresholds}))

    return make


@pytest.fixture
def post(start_server: Any, request_of: Any, bundle_of: Callable[..., Bundle]) -> Callable[..., Any]:
    """`post(body, query, accept)` to a server with that network; `post.server` is it."""
    server = start_server(bundle_of())

    def ask(body: bytes, query: str, accept: str = "*/*") -> Any:
        return request_of("POST", f"{PATH}?{query}", body, {"Accept": accept}, server=server)

    ask.server = server  # type: ignore[attr-defined]
    return ask


def picture(answer: Any) -> Any:
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png"), answer.body[:300]
    return imagecodecs.png_decode(answer.body)


def refusal(answer: Any) -> tuple[int, str, str]:
    problem = json.loads(answer.body)
    return answer.status, problem["code"], problem["detail"]


def test_slices_come_as_png_with_what_they_show(post: Any) -> None:
    answer = post(tiff(z_stack()[0], "ZYX"), "view=orthogonal")
    assert picture(answer).shape == (SHAPE[0] + GAP_PX + 24, SHAPE[1] + GAP_PX + 24)  # 8 planes of 3 pixels
    told = answer.headers["Dimstream-View"]
    assert told == "t=0, c=0, p=0, keep=2-5, plane=4, row=20, column=24, aspect=3"
    assert told.isascii()
    assert answer.headers["Dimstream-Flags"] == "ok=0, unjudged=4, suspect=4"


def test_the_projection_shows_the_predictions_that_can_be_trusted(post: Any) -> None:
    counts = z_stack()[0]
    answer = post(tiff(counts, "ZYX"), "view=projection")
    predicted = counts * 3.0 + 1  # as the bundle rescales
    np.testing.assert_allclose(picture(answer), drawn(predicted[2:6].max(axis=0), predicted), atol=0.51)
    assert answer.headers["Dimstream-View"] == "t=0, c=0, p=0, keep=2-5"


def test_one_volume_of_a_series_is_chosen(post: Any) -> None:
    counts = np.stack([z_stack(times=3), z_stack(times=3, kept=(1, 3), seed=1)], axis=2)  # TZCYX
    answer = post(tiff(counts, "TZCYX"), "view=projection&time=2&channel=1")
    assert answer.headers["Dimstream-View"] == "t=2, c=1, p=0, keep=1-3"
    shown = counts[:, :, 1] * 3.0 + 1
    np.testing.assert_allclose(picture(answer), drawn(shown[2, 1:4].max(axis=0), shown), atol=0.51)


def test_an_npy_stack_is_told_its_axes_and_aspect(post: Any) -> None:
    file = io.BytesIO()
    np.save(file, z_stack()[0])
    status, code, detail = refusal(post(file.getvalue(), "view=orthogonal"))
    assert (status, code) == (406, "not_acceptable")
    assert "give axes=ZYX" in detail
    answer = post(file.getvalue(), "view=orthogonal&axes=ZYX")
    assert picture(answer).shape == (SHAPE[0] + GAP_PX + DEPTH, SHAPE[1] + GAP_PX + DEPTH)
    assert answer.headers["Dimstream-View"].endswith("aspect=unknown")
    answer = post(file.getvalue(), "view=orthogonal&axes=ZYX&aspect=2.5")
    assert picture(answer).shape == (SHAPE[0] + GAP_PX + 20, SHAPE[1] + GAP_PX + 20)


@pytest.mark.parametrize("accept", ["*/*", "image/*", "text/html, image/png;q=0.1"])
def test_a_view_is_png_wherever_that_is_allowed(post: Any, accept: str) -> None:
    assert picture(post(tiff(z_stack()[0], "ZYX"), "view=projection", accept)).shape == SHAPE


REFUSED = {
    "tiff wanted": ("view=projection", "image/tiff", 406, "not_acceptable", "accept it or leave view out"),
    "flags wanted": ("view=projection", "application/json", 406, "not_acceptable", "a view is image/png"),
    "report": ("view=projection&report=json", "*/*", 422, "bad_query", "in another request"),
    "maps": ("view=projection&output=support", "*/*", 422, "bad_query", "leave view or output out"),
    "no such time": ("view=projection&time=1", "*/*", 422, "bad_query", "expected time from 0 to 0, got 1"),
    "no such position": ("view=projection&position=2", "*/*", 422, "bad_query", "expected position from 0"),
    "time without view": ("time=1", "*/*", 422, "bad_query", "view=orthogonal or view=projection"),
    "aspect of a projection": ("view=projection&aspect=2", "*/*", 422, "bad_query", "leave aspect out"),
    "too thick": ("view=orthogonal&aspect=1e9", "*/*", 406, "not_acceptable", "or give aspect"),
    "movie": ("view=projection&axes=TYX", "*/*", 406, "not_acceptable", "give axes=ZYX"),
}


@pytest.mark.parametrize(("query", "accept", "status", "code", "says"), REFUSED.values(), ids=REFUSED)
def test_a_view_that_makes_no_sense_is_refused(
    post: Any, query: str, accept: str, status: int, code: str, says: str
) -> None:
    answered, named, detail = refusal(post(tiff(z_stack()[0], "ZYX"), query, accept))
    assert (answered, named) == (status, code)
    assert says in detail


def test_a_frame_that_fails_ends_a_view(start_server: Any, request_of: Any) -> None:
    counts = z_stack()[0]
    counts[3, :2, :2] = 999
    path = PATH.replace("identity", "raising") + "?view=projection"
    answer = request_of("POST", path, tiff(counts, "ZYX"), server=start_server("raising"))
    status, code, detail = refusal(answer)
    assert (status, code) == (500, "frame_failed")
    assert "frame 3" in detail


def test_the_report_says_which_planes_to_keep(post: Any) -> None:
    report = json.loads(post(tiff(z_stack(times=2), "TZYX"), "report=json").body)
    assert report["thresholds"] == {
        "ssim": 0.3,
        "background_max": 5.0,
        "signal_min": 25.0,
        "structure_score": 5.0,
        "split": 0.3,
    }
    (series,) = report["series"]
    crop = {"first": 2, "last": 5, "untrusted": [], "left_out": []}
    assert (series["times"], series["planes"], series["crop"]) == (2, list(range(DEPTH)), crop)
    assert series["trusted_share"] == [0, 0, 1, 1, 1, 1, 0, 0]
    assert [(one["t"], one["c"], one["p"], one["crop"]) for one in report["volumes"]] == [
        (0, 0, 0, crop), (1, 0, 0, crop),
    ]  # fmt: skip
    planes = report["volumes"][0]["planes"]
    assert [plane["trusted"] for plane in planes] == [KEPT[0] <= z <= KEPT[1] for z in range(DEPTH)]
    assert planes[1]["why_not"].startswith("no structure: score")
    assert (planes[0]["ssim_above"], planes[-1]["ssim_below"]) == (None, None)
    by_depth = [frame["quality"]["ssim_z"] for frame in report["frames"][:DEPTH]]
    assert [plane["ssim_above"] for plane in planes] == by_depth
    assert [plane["ssim_below"] for plane in planes] == [*by_depth[1:], None]


@pytest.mark.parametrize(
    ("threshold", "axes", "planes"), [(0.3, "TYX", DEPTH), (0.3, "ZYX", 1), (None, "ZYX", DEPTH)]
)
def test_there_is_nothing_to_say_of_no_volume_or_without_thresholds(
    start_server: Any, request_of: Any, bundle_of: Any, threshold: float | None, axes: str, planes: int
) -> None:
    server = start_server(bundle_of(threshold=threshold))
    body = tiff(z_stack()[0][:planes], axes)
    report = json.loads(request_of("POST", PATH + "?report=json", body, server=server).body)
    assert [report[name] for name in ("thresholds", "series", "volumes")] == [None] * 3
    if axes == "ZYX" and planes > 1:
        view = request_of("POST", PATH + "?view=projection", body, server=server)
        assert view.headers["Dimstream-View"].endswith("keep=unjudged")


def test_the_command_view_takes_the_report(post: Any, tmp_path: Path, capsys: Any) -> None:
    body = tiff(z_stack()[0], "ZYX")
    (tmp_path / "out.ome.tif").write_bytes(post(body, "").body)
    report = post(body, "report=json").body
    (tmp_path / "report.json").write_bytes(report)
    command = ["view", str(tmp_path / "out.ome.tif"), "--flags", str(tmp_path / "report.json")]
    assert main([*command, "--server", post.server.addresses.http]) == 0
    assert "keep z 2 to 5 of 0 to 7; by ssim 0.3, structure score 5" in capsys.readouterr().out
    judged, told = json.loads((tmp_path / "out.volume.json").read_text()), json.loads(report)
    for name in ("thresholds", "series", "volumes"):
        assert judged[name] == told[name]
    for view in ("orthogonal", "projection"):
        assert (tmp_path / f"out.{view}.png").read_bytes() == post(body, f"view={view}").body


@pytest.mark.parametrize(
    ("axes", "kept", "says"),
    [
        ("ZYX", [KEPT], "planes 2 to 5 of 0 to 7 can be trusted"),
        ("ZYX", [(9, 9)], "no plane of 8 can be trusted"),
        ("TZYX", [KEPT] * 2, "planes 2 to 5 of 0 to 7 can be trusted in at least 90% of the 2 time points"),
        ("CZYX", [KEPT, (3, 6)], "planes 3 to 5 of 0 to 7 can be trusted in all channels and positions"),
        ("CZYX", [(0, 3), (5, 7)], "no plane of 8 can be trusted in all channels and positions"),
    ],
)
def test_the_command_stream_proposes_a_crop(
    post: Any, tmp_path: Path, capsys: Any, axes: str, kept: list[tuple[int, int]], says: str
) -> None:
    counts = np.concatenate([z_stack(kept=one, seed=n) for n, one in enumerate(kept)])
    (tmp_path / "in.tif").write_bytes(tiff(counts[0] if axes == "ZYX" else counts, axes))
    command = ["stream", str(tmp_path / "in.tif"), str(tmp_path / "out.ome.tif"), "--quiet", "--server"]
    assert main([*command, post.server.addresses.zmq]) == 0
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert ("suspect from frame" in first) == (axes == "TZYX")
    assert second == f"volume: {says}; see dimstream view"
    assert len(list(tmp_path.iterdir())) == 3  # in, out, flags
