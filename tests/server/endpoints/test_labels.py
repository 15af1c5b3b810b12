"""A model that says what each pixel shows, behind both endpoints: labels come back, judged by nothing."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from class_bundles import class_draft, expected_labels

from dimstream_client.errors import Code
from dimstream_client.messages import Error, Open
from dimstream_models.bundle import write_bundle

SHAPE = (24, 32)


@pytest.fixture
def labelling(start_server: Any, tmp_path: Path) -> Any:
    return start_server(write_bundle(tmp_path / "b", class_draft()))


def test_both_endpoints_send_the_same_labels(
    labelling: Any, connect: Any, request_of: Any, make_counts: Any
) -> None:
    frame, peer = make_counts(), connect(labelling)
    opened = peer.open(SHAPE, model="brightness")
    result = peer.denoise(opened.stream, 0, frame)
    assert (result.flag, result.ssim_prev, result.quality) == ("unjudged", None, None)
    np.testing.assert_array_equal(result.pixels, expected_labels(frame))
    body = io.BytesIO()
    np.save(body, frame)
    path, wanted = "/v1/models/brightness/denoise", {"Accept": "application/x-npy"}
    answer = request_of("POST", path, body.getvalue(), wanted, server=labelling)
    assert answer.status == 200
    np.testing.assert_array_equal(answer.array(), expected_labels(frame))


def test_maps_of_support_are_refused(labelling: Any, connect: Any) -> None:
    refused = connect(labelling).ask(Open("test", SHAPE, "uint16", model="brightness", maps=True))
    assert isinstance(refused, Error)
    assert refused.code == Code.BAD_FIELD
    assert "does not denoise" in refused.detail
