"""What strangers' bytes are decoded by: one function for each decoder.

A target takes bytes, lets the errors pass that its decoder promises, and raises on anything else: another
error is a crash, and so is an answer that breaks what the decoder promises. The fuzzer (`fuzzing.py`), the
replay of the corpus (`test_corpus.py`) and the property tests share them.

To add one: write a function of bytes, name it in `TARGETS`, and put a few small
valid files into `corpus/NAME/`. Nothing else knows the names.
"""

import atexit
import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from dimstream_client import spool_file
from dimstream_client.errors import DimstreamError, KeyFileError, ProtocolError, RecordError, SpoolError
from dimstream_client.keys import PUBLIC, SECRET, TOKEN, read_entries, read_secret
from dimstream_client.messages import Frame
from dimstream_client.resume_handle import ResumeHandle
from dimstream_client.volumes.plane_records import plane_of, read_records
from dimstream_client.wire import decode, encode
from dimstream_models.bundle import BundleError, read_attachment, read_bundle
from dimstream_models.bundle.errors import InvalidBundle
from dimstream_models.bundle.onnx_file import check_onnx
from dimstream_models.bundle.tensors import from_npy
from dimstream_server.endpoints.http.open_inference.compression import unpacked
from dimstream_server.endpoints.http.open_inference.infer_request import read_request
from dimstream_server.endpoints.http.request_images import ImageChoice, open_body
from dimstream_server.endpoints.zmq.curve import CurveHandshake
from dimstream_server.endpoints.zmq.zmtp import (
    COMMAND,
    FrameReader,
    ZmtpError,
    parse_command,
    parse_metadata,
    routing_id_of,
)
from dimstream_server.errors import ServerError
from dimstream_server.settings_file import SettingsError, load_settings

CORPUS = Path(__file__).with_name("corpus")
BETWEEN_PARTS = b"\n--part--\n"
BOUNDARY = "cut"
MAX_PAYLOAD = 2**20
MAX_STACK = 2**20
MAX_FRAME = 2**17
PLAIN = ImageChoice()


def wire(data: bytes) -> None:
    """A message's parts, `BETWEEN_PARTS`; what is decoded must survive another way there."""
    try:
        message = decode(data.split(BETWEEN_PARTS), max_payload_bytes=MAX_PAYLOAD)
    except ProtocolError as error:
        _check_one_line(error.problem.detail)
        return
    again = decode([bytes(part) for part in encode(message)], max_payload_bytes=MAX_PAYLOAD)
    assert again == message


def _body(data: bytes, content_type: str, choice: ImageChoice = PLAIN) -> None:
    """A request body: every frame has the declared shape and type, and is finite."""
    with suppress(ServerError, DimstreamError):
        stack = open_body(data, content_type, choice=choice, max_bytes=MAX_STACK, max_frame_bytes=MAX_STACK)
        try:
            size = np.prod(stack.shape, dtype=object) * np.dtype(stack.dtype).itemsize
            assert size <= 2 * MAX_STACK, f"{stack.shape} of {stack.dtype} is over the limit"
            for n in range(len(stack)):
                frame = stack.read(n)
                assert (frame.shape, frame.dtype.name) == (stack.shape[-2:], stack.dtype)
                stack.index(n)
        finally:
            stack.close()


def tiff(data: bytes) -> None:
    """A request body with a TIFF's first bytes."""
    _body(data, "image/tiff")


def image(data: bytes) -> None:
    """A request body of any kind, behind a byte that says which options the query has."""
    options = data[0] if data else 0
    choice = ImageChoice(
        axes=(None, "TYX", "TZYX", "TPYX")[options & 3],
        series=(None, "0", "1", "STED")[options >> 2 & 3],
        incomplete=bool(options & 16),
        below_zero=bool(options & 32),
    )
    _body(data[1:], "application/octet-stream", choice)


def npy(data: bytes) -> None:
    """A request body, and a bundle's test tensor."""
    _body(data, "application/x-npy")
    with suppress(InvalidBundle):
        tensor = from_npy(data, where="tensor")
        assert tensor.nbytes <= len(data)
        assert np.isfinite(tensor).all()


def inference(data: bytes) -> None:
    """A request of the Open Inference Protocol: the length of its JSON, `BETWEEN_PARTS`, its body."""
    length, _, body = data.partition(BETWEEN_PARTS)
    encoding = "gzip" if body.startswith(b"\x1f\x8b") else "identity"
    try:
        plain = unpacked(bytearray(body), encoding, MAX_STACK)
        assert len(plain) <= max(len(body), MAX_STACK + 2**20)
        asked = read_request(plain, length.decode("latin-1") or None)
    except ServerError as error:
        _check_short(str(error))
        return
    assert asked.outputs
    assert asked.frames >= 1
    _body(bytes(asked.npy), "", asked.choice)


def form(data: bytes) -> None:
    """A multipart form: its Content-Type's parameters, a line feed, its body."""
    parameters, _, body = data.partition(b"\n")
    _body(body, f"multipart/form-data; {parameters.decode('latin-1')}")


def bundle(data: bytes) -> None:
    """A bundle's zip."""
    path = _scratch() / "bundle.zip"
    path.write_bytes(data)
    with suppress(BundleError):
        found = read_bundle(path)
        for name in found.attachments:
            read_attachment(found, name)


def description(data: bytes) -> None:
    """A bundle's description, in a folder whose other files are those of the valid bundle."""
    folder = _valid_folder()
    (folder / "bioimageio.yaml").write_bytes(data)
    with suppress(BundleError):
        found = read_bundle(folder)
        for name in found.attachments:
            read_attachment(found, name)


def onnx(data: bytes) -> None:
    """A bundle's weights, before any runtime sees them."""
    with suppress(BundleError):
        check_onnx(data, name="weights.onnx")


def records(data: bytes) -> None:
    """Records of planes: JSON lines, or a report."""
    path = _scratch() / "records.jsonl"
    path.write_bytes(data)
    with suppress(RecordError):
        for record in read_records(path):
            plane_of(record)


def keys(data: bytes) -> None:
    """A file of keys or tokens; an error never says what stands in it."""
    path = _scratch() / "client.key"
    path.write_bytes(data)
    for read in (
        lambda: read_entries(path, PUBLIC),
        lambda: read_entries(path, TOKEN),
        lambda: read_entries(path, SECRET),
        lambda: read_secret(path),
    ):
        try:
            read()
        except KeyFileError as error:
            _check_one_line(str(error))
            _check_keeps_secrets(str(error), data)


def settings(data: bytes) -> None:
    """The server's settings, TOML."""
    path = _scratch() / "server.toml"
    path.write_bytes(data)
    try:
        load_settings(path, {})
    except SettingsError as error:
        _check_one_line(str(error))


def spool(data: bytes) -> None:
    """A spooled frame's file, and the file that resumes its stream."""
    with suppress(SpoolError):
        message = spool_file.parse(data, where="frame")
        if isinstance(message, Frame):
            assert message.pixels.nbytes <= len(data)
    with suppress(SpoolError):
        text = data.decode("utf-8", "replace")
        resume_handle = ResumeHandle.of_json(text, where="resume_handle")
        assert ResumeHandle.of_json(resume_handle.to_json(), where="again") == resume_handle


def zmtp(data: bytes) -> None:
    """What a connection of the streaming endpoint reads: frames, and behind them what commands hold."""

    def admit(flags: int, size: int) -> None:
        if size > MAX_FRAME:
            raise ZmtpError("larger than is admitted")

    reader = FrameReader(admit)
    with suppress(ZmtpError):
        while data:
            buffer = reader.buffer()
            count = min(len(buffer), len(data))
            buffer[:count], data = data[:count], data[count:]
            reader.received(count)
            while (frame := reader.next_frame()) is not None:
                assert len(frame.body) <= MAX_FRAME
                if frame.flags & COMMAND:
                    routing_id_of(parse_metadata(parse_command(frame.body)[1]))


def curve(data: bytes) -> None:
    """A server's side of a CURVE handshake, and a part behind it; nobody's key is proved."""
    handshake = CurveHandshake(bytes(range(32)))
    hello, _, rest = data.partition(BETWEEN_PARTS)
    for read in (handshake.welcome, handshake.client_of, handshake.unseal):
        for body in (hello, rest):
            with suppress(ZmtpError):
                read(body)
                assert read == handshake.welcome


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        wire,
        tiff,
        image,
        npy,
        inference,
        form,
        bundle,
        description,
        onnx,
        records,
        keys,
        settings,
        spool,
        zmtp,
        curve,
    )
}


def seeds(name: str) -> list[Path]:
    """Files of a target's corpus: valid ones, and those that once were crashes."""
    return sorted((CORPUS / name).iterdir())


def _check_one_line(message: str) -> None:
    assert "\n" not in message, "a refusal must be fit for one line of a log"


def _check_short(message: str) -> None:
    assert len(message) < 1000, "a refusal must not send back what came"


def _check_keeps_secrets(message: str, data: bytes) -> None:
    words = data.decode("latin-1").split()
    secrets = {value for kind, value in pairwise(words) if kind == SECRET and len(value) > 20}
    assert not secrets & set(message.split()), "an error tells a secret"


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dimstream-hostile-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _valid_folder() -> Path:
    folder = _scratch() / "valid"
    with zipfile.ZipFile(io.BytesIO((CORPUS / "bundle" / "valid.zip").read_bytes())) as archive:
        archive.extractall(folder)
    return folder
