"""What speaks for and against a frame, told the same on both endpoints, with real engines."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from dimstream_client.files import Scale, open_images
from dimstream_client.files.tiff_writer import StackWriter
from dimstream_client.messages import Frame, PlaneIndex, QualityMetrics, Thresholds, Update
from dimstream_client.quality import fitted
from dimstream_models.bundle import Bundle, Calibration
from dimstream_models.quality.support_map import support

SHAPE = (40, 48)
PATH = "/v1/models/identity/denoise"
NPY = {"Accept": "application/x-npy"}
CALIBRATION = Calibration(
    method="test",
    signal_pairs=99,
    dark_pairs=49,
    signal_quantiles={"0.0": 0.5, "0.5": 0.75, "1.0": 1.0},
    dark_quantiles={"0.0": 0.0, "1.0": 0.5},
    false_alarm_rate=0.01,
    auc=0.99,
    doses_photons=(0.3, 3.0),
    frame_interval_s=4.0,
    seed=1,
)


def sample(*, frames: int = 1, seed: int = 0) -> NDArray[np.uint16]:
    """(T, H, W): two bright filaments on a dark field, in photons."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.minimum(abs(rows - columns * 0.6 - 4), abs(rows + columns * 0.3 - 34))
    return (
        np.random.default_rng(seed)
        .poisson(0.05 + 60 * np.exp(-((distance / 2) ** 2)), (frames, *SHAPE))
        .astype(np.uint16)
    )


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def calibrated(tiny_bundle: Callable[..., Bundle]) -> Bundle:
    """The network `identity` with a calibration record and a threshold for split photons."""
    bundle = tiny_bundle("identity", split=0.3)
    assert bundle.config is not None
    return replace(bundle, config=bundle.config.model_copy(update={"calibration": CALIBRATION}))


@pytest.fixture
def report_of(request_of: Any) -> Callable[..., dict[str, Any]]:
    """`report_of(server, array, query)`: the flags of a stack by HTTP."""

    def ask(server: Any, array: Any, query: str = "") -> dict[str, Any]:
        answer = request_of("POST", f"{PATH}?report=json{query}", npy(array), server=server)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = json.loads(answer.body)
        return found

    return ask


def untimed(quality: Any) -> dict[str, Any]:
    """QualityMetrics as JSON would have it, without what differs from run to run."""
    plain: dict[str, Any] = json.loads(
        json.dumps(asdict(quality) if isinstance(quality, QualityMetrics) else quality)
    )
    if plain["split"] is not None:
        assert plain["split"].pop("t_ms") >= 0
    return plain


def test_both_endpoints_send_the_same_quality_metrics(
    start_server: Any, connect: Any, report_of: Any, calibrated: Bundle
) -> None:
    server = start_server(calibrated)
    peer, movie = connect(server), sample(frames=4)
    opened = peer.open(SHAPE, model=None, split_every=2, frame_interval_s=2.0)
    assert opened.thresholds == Thresholds(0.6, 5.0, 25.0, -1e6, 0.3)
    by_zmq = [peer.denoise(opened.stream, seq, frame) for seq, frame in enumerate(movie)]
    by_http = report_of(server, movie, "&split_every=2&frame_interval_s=2")["frames"]
    assert [untimed(result.quality) for result in by_zmq] == [untimed(frame["quality"]) for frame in by_http]
    qualities = [result.quality for result in by_zmq]
    assert [quality.split is not None for quality in qualities] == [True, False, True, False]
    assert all(
        quality.structure_score > 20 and 0 <= quality.unsupported_fraction < 0.5 for quality in qualities
    )
    assert [quality.shift_px for quality in qualities] == [None, (0, 0), (0, 0), (0, 0)]
    assert qualities[1].ssim_aligned == by_zmq[1].ssim_prev
    assert 0.01 <= qualities[1].p_signal <= 1
    assert [result.flag for result in by_zmq] == ["ok"] * 4


def test_maps_come_with_pixels_or_without_and_are_the_references(
    start_server: Any, connect: Any, request_of: Any, calibrated: Bundle
) -> None:
    server = start_server(calibrated)
    peer, frame = connect(server), sample()[0]
    expected = support(frame, frame.astype(np.float32), 10, 5, 25).classes
    for deliver in ("result", "flags"):
        opened = peer.open(SHAPE, model=None, deliver=deliver, maps=True, checksum="crc32")
        result = peer.denoise(opened.stream, 0, frame)
        assert (result.pixels is None) == (deliver == "flags")
        np.testing.assert_array_equal(result.support, expected)
    url = PATH + "?output=support"
    answer = request_of("POST", url, npy(frame), NPY, server=server)
    assert answer.array().dtype == np.uint8
    np.testing.assert_array_equal(answer.array(), expected)
    png = request_of("POST", url, npy(frame), {"Accept": "image/png"}, server=server)
    np.testing.assert_array_equal(imagecodecs.png_decode(png.body), expected)
    tiff = request_of("POST", url + "&out_dtype=float32", npy(frame), server=server)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(tiff.body)), expected)


def test_a_result_has_four_parts_only_with_a_map(start_server: Any, connect: Any, calibrated: Bundle) -> None:
    peer = connect(start_server(calibrated))
    parts = {}
    for maps in (False, True):
        opened = peer.open(SHAPE, model=None, deliver="flags", maps=maps, checksum="crc32")
        peer.send(Frame(opened.stream, 0, sample()[0]))
        parts[maps] = peer.socket.recv_multipart()
    assert [len(parts[False]), len(parts[True])] == [2, 4]
    assert (parts[True][2], len(parts[True][3])) == (b"", 40 * 48)
    layout = json.loads(parts[True][1])["map"]
    assert list(layout) == ["shape", "codec", "crc32"]
    assert "map" not in json.loads(parts[False][1])


def test_a_frame_that_fails_has_neither_quality_metrics_nor_map(peer: Any, make_counts: Any) -> None:
    opened = peer.open(model="raising", maps=True)
    bad = make_counts()
    bad[:2, :2] = 999
    failed, good = (peer.denoise(opened.stream, seq, frame) for seq, frame in enumerate((bad, make_counts())))
    assert (failed.status, failed.quality, failed.support) == ("failed", None, None)
    assert good.quality is not None
    assert good.support.shape == (24, 32)


def test_update_changes_what_counts_as_structure(peer: Any, make_counts: Any) -> None:
    opened = peer.open()
    assert peer.denoise(opened.stream, 0, make_counts()).flag == "unjudged"
    updated = peer.ask(Update(opened.stream, 1, thresholds={"structure_score": 1e6, "split": 0.5}))
    assert (updated.thresholds.structure_score, updated.thresholds.split) == (1e6, 0.5)
    result = peer.denoise(opened.stream, 1, make_counts())
    assert (result.flag, result.quality.suspect_since, result.quality.unsupported_fraction) == (
        "suspect",
        1,
        1.0,
    )
    assert result.reason.startswith("no structure: score")


def test_planes_of_a_z_stack_are_compared_in_depth(peer: Any, make_counts: Any) -> None:
    opened = peer.open()
    frame = make_counts()
    found = [peer.ask(Frame(opened.stream, z, frame, index=PlaneIndex(z=z))).quality.ssim_z for z in range(3)]
    assert found == [None, pytest.approx(1, abs=1e-4), pytest.approx(1, abs=1e-4)]


def test_a_single_image_is_judged_by_its_split_photons(
    start_server: Any, request_of: Any, calibrated: Bundle
) -> None:
    server = start_server(calibrated)
    alone = request_of("POST", PATH, npy(sample()[0]), NPY, server=server)
    assert alone.headers["Dimstream-Flag"] == "unjudged"
    assert alone.headers["Dimstream-Split-Ssim"] is None
    split = request_of("POST", PATH + "?split_every=1", npy(sample()[0]), NPY, server=server)
    assert split.headers["Dimstream-Flag"] == "ok"
    assert float(split.headers["Dimstream-Split-Ssim"]) >= 0.3
    assert split.headers["Dimstream-Split-Refused"] is None
    assert float(split.headers["Dimstream-Structure-Score"]) > 20
    assert 0 <= float(split.headers["Dimstream-Unsupported-Fraction"]) < 0.5
    assert split.headers["Dimstream-Notes"] is None
    np.testing.assert_array_equal(split.array(), alone.array())


def test_what_else_was_seen_stands_in_headers(start_server: Any, request_of: Any, calibrated: Bundle) -> None:
    server = start_server(calibrated)
    frame = sample()[0].astype(np.float32) / 2
    answer = request_of("POST", PATH + "?split_every=1&frame_interval_s=60", npy(frame), NPY, server=server)
    assert "between whole numbers" in answer.headers["Dimstream-Split-Refused"]
    assert answer.headers["Dimstream-Split-Ssim"] is None
    assert answer.headers["Dimstream-Notes"] == "interval, not_photons"
    stack = request_of("POST", PATH + "?split_every=1", npy(sample(frames=2)), NPY, server=server)
    assert stack.headers["Dimstream-Structure-Score"] is None


def test_the_report_says_since_when_frames_are_suspect(
    start_server: Any, report_of: Any, calibrated: Bundle
) -> None:
    server, movie = start_server(calibrated), sample(frames=12)
    assert report_of(server, movie)["suspect_since"] is None
    movie[[1, 2, 8, 9]] = 7  # blank
    report = report_of(server, movie)
    assert (report["flag"], report["suspect_since"]) == ("suspect", 8)
    since = [frame["quality"]["suspect_since"] for frame in report["frames"]]
    assert (since[:3], since[7:10], since[11]) == ([None, 1, 1], [None, 8, 8], None)


def test_the_frame_interval_is_the_files_unless_it_is_told(
    start_server: Any, request_of: Any, calibrated: Bundle
) -> None:
    server, movie = start_server(calibrated), sample(frames=2)
    file = io.BytesIO()
    with StackWriter(
        file, axes="TYX", shape=movie.shape, dtype="uint16", scale=Scale((0.02, 0.02), None, 60.0)
    ) as one:
        for frame in movie:
            one.write(frame)
    for query, seconds, notes in (("", 60.0, ["interval"]), ("frame_interval_s=4", 4.0, [])):
        url = f"{PATH}?{query}"
        report = json.loads(request_of("POST", f"{url}&report=json", file.getvalue(), server=server).body)
        assert [frame["quality"]["notes"] for frame in report["frames"]] == [notes] * 2
        with open_images(io.BytesIO(request_of("POST", url, file.getvalue(), server=server).body)) as stack:
            assert (stack.square_pixel_um, stack.frame_interval_s) == (0.02, seconds)


def test_models_tell_their_calibration(start_server: Any, request_of: Any, calibrated: Bundle) -> None:
    server = start_server(calibrated)
    model = json.loads(request_of("GET", "/v1/models/identity", server=server).body)
    assert model["calibration"] == {
        "signal_quantiles": {"0.0": 0.5, "0.5": 0.75, "1.0": 1.0},
        "dark_quantiles": {"0.0": 0.0, "1.0": 0.5},
        "signal_pairs": 99,
        "dark_pairs": 49,
        "false_alarm_rate": 0.01,
        "auc": 0.99,
        "doses_photons": [0.3, 3.0],
        "frame_interval_s": 4.0,
    }
    assert (model["thresholds"]["structure_score"], model["thresholds"]["split"]) == (-1e6, 0.3)


def test_counts_beyond_any_measure_harm_neither_stream_nor_report(
    start_server: Any, connect: Any, report_of: Any, request_of: Any, calibrated: Bundle
) -> None:
    server = start_server(calibrated)
    peer, movie = connect(server), sample(frames=3).astype(np.float32)
    movie[1] *= 1e12
    opened = peer.open(SHAPE, dtype="float32", model=None)
    results = [peer.denoise(opened.stream, seq, frame) for seq, frame in enumerate(movie)]
    assert [result.status for result in results] == ["done"] * 3
    assert results[1].quality.structure_score == pytest.approx(results[0].quality.structure_score, rel=0.5)
    report = report_of(server, movie)
    assert report["frames"][1]["quality"]["structure_score"] == pytest.approx(
        results[1].quality.structure_score, rel=1e-3
    )
    assert "nan" not in request_of("GET", "/metrics", server=server).body.decode().lower()


def test_metrics_count_notes_split_checks_and_scores(
    start_server: Any, request_of: Any, report_of: Any, calibrated: Bundle
) -> None:
    server = start_server(calibrated)
    report_of(server, sample(frames=3), "&split_every=2&frame_interval_s=60")
    report_of(server, sample()[0].astype(np.float32) / 2, "&split_every=1")
    text = request_of("GET", "/metrics", server=server).body.decode()
    for line in (
        'dimstream_notes_total{model="identity",note="interval"} 3.0',
        'dimstream_split_total{model="identity",outcome="answered"} 2.0',
        'dimstream_split_total{model="identity",outcome="refused"} 1.0',
        'dimstream_unsupported_fraction_bucket{le="1.0"} 4.0',
        'dimstream_structure_score_bucket{le="5.0"} 0.0',
        "dimstream_structure_score_count 4.0",
    ):
        assert line in text
    for name, bounds in (
        ("unsupported_fraction", ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1.0"]),
        ("structure_score", ["0.0", "2.0", "5.0", "10.0", "20.0", "50.0", "100.0"]),
    ):
        found = [line.split('"')[1] for line in text.splitlines() if f"{name}_bucket" in line]
        assert found == [*bounds, "+Inf"]


@pytest.mark.parametrize(
    ("ssim", "told"),
    [(None, None), (0.25, 0.25), (1.000004, 1.0), (-1.1, -1.0), (float("nan"), None), (float("inf"), None)],
)
def test_ssim_is_told_within_its_bounds_or_not_at_all(ssim: float | None, told: float | None) -> None:
    quality = QualityMetrics(structure_score=1.0, unsupported_fraction=0.0, ssim_z=ssim)
    assert fitted(quality).ssim_z == told


@pytest.mark.parametrize(
    ("score", "told"), [(-3.5, -3.5), (float("nan"), 0.0), (float("inf"), float(np.finfo(np.float32).max))]
)
def test_a_score_is_told_as_a_finite_number(score: float, told: float) -> None:
    quality = fitted(QualityMetrics(structure_score=score, unsupported_fraction=1.0))
    assert quality == QualityMetrics(structure_score=told, unsupported_fraction=1.0)
