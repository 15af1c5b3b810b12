"""ONNX files of bundles as they are read here: without documentation, their errors translated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import onnx

from dimstream_models.bundle import Bundle
from dimstream_server.errors import UnsupportedNetwork

STRIPPED: Final = frozenset({"doc_string", "metadata_props"})


def opset_of(model: onnx.ModelProto) -> int:
    """Opset of the standard operators."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def strip(message: Any) -> None:
    """Remove documentation and metadata (source paths, stack traces) from a message, at every depth."""
    for field, value in message.ListFields():
        if field.name in STRIPPED:
            message.ClearField(field.name)
        elif hasattr(value, "ListFields"):
            strip(value)
        elif field.message_type is not None:
            for part in value:
                strip(part)


@contextmanager
def reading(bundle: Bundle) -> Iterator[None]:
    """Translate what protobuf and onnx raise: classes of their own, some of them private."""
    try:
        yield
    except Exception as error:
        raise UnsupportedNetwork(f"{bundle.id}: the network cannot be read as ONNX: {error}") from error
