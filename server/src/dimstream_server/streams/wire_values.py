"""What the engine says, in the words of DIM1."""

from dimstream_client.messages import Model
from dimstream_server.engine.protocol import ModelInfo


def wire_model(model: ModelInfo) -> Model:
    """The model as OPENED and UPDATED name it."""
    return Model(id=model.id, sha256=model.sha256, gain=model.gain, offset=model.offset)
