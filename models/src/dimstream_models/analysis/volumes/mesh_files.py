"""Surfaces as PLY and STL files, both binary and little-endian."""

from __future__ import annotations

from typing import Final

import numpy as np

from dimstream_models.analysis.volumes.surfaces import Surface

_PLY_FACE: Final = np.dtype([("count", "u1"), ("vertices", "<i4", 3)])
_STL_FACE: Final = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_STL_HEAD: Final = 80


def as_ply(surface: Surface, comment: str) -> bytes:
    """Return a surface as PLY 1.0; `comment` is one line."""
    head = (
        "ply\nformat binary_little_endian 1.0\n"
        f"comment {comment}\ncomment lengths in micrometres\n"
        f"element vertex {len(surface.vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(surface.faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    faces = np.zeros(len(surface.faces), _PLY_FACE)
    faces["count"], faces["vertices"] = 3, surface.faces
    body: bytes = surface.vertices.astype("<f4").tobytes() + faces.tobytes()
    return head.encode("ascii", "replace") + body


def as_stl(surface: Surface, comment: str) -> bytes:
    """Return a surface as binary STL, a format without units; `comment` is cut at 80 bytes."""
    head = f"dimstream, micrometres; {comment}".encode("ascii", "replace")[:_STL_HEAD].ljust(_STL_HEAD)
    faces = np.zeros(len(surface.faces), _STL_FACE)
    faces["normal"], faces["corners"] = surface.normals(), surface.corners()
    body: bytes = faces.tobytes()
    return head + len(faces).to_bytes(4, "little") + body
