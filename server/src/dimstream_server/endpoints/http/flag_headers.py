"""Headers of a denoise answer: the flags of its frames, for those who want its pixels."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from dimstream_client.quality import QualityMetrics, flat, flat_figures, plain
from dimstream_server.endpoints.http.denoising import Denoised, Order
from dimstream_server.endpoints.http.reports import count_flags, worst_flag
from dimstream_server.engine.protocol import EngineResult


@cache
def _header(figure: str) -> str:
    return "Dimstream-" + "-".join(part.capitalize() for part in figure.split("_"))


DESCRIPTIONS: Final[Mapping[str, str]] = {
    "Dimstream-Flag": "The worst flag of all frames: suspect, then unjudged, then ok.",
    "Dimstream-Flags": "How many frames have each flag: `ok=5, unjudged=1, suspect=0`.",
    "Dimstream-Reason": "Single frames: why the flag is not ok.",
    "Dimstream-Ssim-Prev": "Single frames: SSIM with the prediction before, where there was one.",
    **{
        _header(name): f"Single frames: {one.metadata['description']}. Absent where there is nothing to tell."
        for name, one in flat_figures(QualityMetrics).items()
    },
    "Dimstream-View": "Views: the z-stack that is drawn (t, c, p), which planes to keep (`keep=3-16`, `none`"
    " or `unjudged`), where slices lie (plane, row, column), and z step / pixel size (aspect).",
    "Dimstream-Axes": "The axes that were understood, slowest first, positions (P) before all: `TZYX`.",
    "Dimstream-Shape": "Length of each axis: `10, 5, 600, 600`.",
    "Dimstream-Remarks": "What was not found in the file, is doubtful or left out; absent when nothing.",
    "Dimstream-Detector": "Offset and gain by which frames became photons, where the query gave them:"
    " `offset=100, gain=2.2`.",
    "Dimstream-Not-Photons": "Why values are no photon counts, of the first frame of which that was found,"
    " and the offset and gain that would make photons of them, as far as the frame tells.",
    "Dimstream-Model": "Id of the model.",
    "Dimstream-Model-Sha256": "Of its ONNX weights.",
    "Dimstream-T-Ms": "Milliseconds in queue, inference and in all, summed over the frames.",
}

REMARKS_LENGTH: Final = 2_000


def headers_of(order: Order, denoised: Denoised) -> dict[str, str]:
    """What the headers of the answer to a filled order say, each described in `DESCRIPTIONS`."""
    headers = {
        "Dimstream-Model": order.model.id,
        "Dimstream-Model-Sha256": order.model.sha256,
        "Dimstream-Flag": worst_flag(denoised),
        "Dimstream-Flags": ", ".join(f"{flag}={n}" for flag, n in count_flags(denoised).items()),
        "Dimstream-T-Ms": _times(denoised),
        "Dimstream-Axes": denoised.axes,
        "Dimstream-Shape": ", ".join(map(str, denoised.shape)),
    }
    if denoised.remarks:
        headers["Dimstream-Remarks"] = _printable("; ".join(denoised.remarks))
    if order.detector is not None:
        headers["Dimstream-Detector"] = f"offset={order.detector.offset:g}, gain={order.detector.gain:g}"
    if doubts := [result.reason for _, result in denoised.frames if _is_not_photons(result)]:
        headers["Dimstream-Not-Photons"] = doubts[0] or ""
    if len(denoised.frames) == 1:
        _, result = denoised.frames[0]
        headers.update((name, value) for name, value in _of_frame(result) if value)
    if denoised.view is not None:
        headers["Dimstream-View"] = denoised.view
    return headers


def _is_not_photons(result: EngineResult) -> bool:
    return result.quality is not None and "not_photons" in result.quality.notes


def _of_frame(result: EngineResult) -> Iterator[tuple[str, str]]:
    """All that is told of a single frame, empty where there is nothing to tell."""
    yield "Dimstream-Reason", result.reason or ""
    yield "Dimstream-Ssim-Prev", _text(result.ssim_prev)
    if result.quality is not None:
        for name, value in flat(type(result.quality), plain(result.quality)).items():
            yield _header(name), _text(value)


def _text(value: Any) -> str:
    """A figure, numbers to six digits; empty where there is none."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def _printable(text: str) -> str:
    """The text as a header can hold it: some of it is the file's own."""
    return ascii(text)[1:-1][:REMARKS_LENGTH]


def _times(denoised: Denoised) -> str:
    results = [result for _, result in denoised.frames]
    sums = {
        "queue": sum(result.t_ms.queue for result in results),
        "infer": sum(result.t_ms.infer for result in results),
        "total": sum(result.t_ms.total for result in results),
    }
    return ", ".join(f"{name}={value:.3f}" for name, value in sums.items())
