"""What BentoML serves; its annotations are read at run time."""

import json
import os
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import ContentType
from network import Network

RAW = ContentType("application/octet-stream")


@bentoml.service(workers=1, traffic={"timeout": 120})
class Peer:
    """One worker; one frame at a time in the network."""

    def __init__(self) -> None:
        settings = json.loads(Path(os.environ["PEER_SETTINGS"]).read_text(encoding="utf-8"))
        self._network, self._shape = Network(settings), tuple(settings["shape"])

    @bentoml.api
    def denoise(self, body: Annotated[Path, RAW], /) -> Annotated[bytes, RAW]:
        """Raw pixels in, raw pixels out; BentoML gives a body as a file."""
        frame = np.frombuffer(body.read_bytes(), np.uint16).reshape(self._shape)
        return self._network(frame).tobytes()
