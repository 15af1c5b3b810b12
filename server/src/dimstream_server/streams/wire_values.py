"""What the engine says, in the words of DIM1."""

from dimstream_client.messages import Model, Updated
from dimstream_server.engine.protocol import InForce, ModelInfo


def wire_model(model: ModelInfo) -> Model:
    """The model as OPENED and UPDATED name it."""
    return Model(id=model.id, sha256=model.sha256, gain=model.gain, offset=model.offset)


def wire_update(stream: str, in_force: InForce, *, by: str | None = None) -> Updated:
    """UPDATED: what is in force from when on, and which operator wanted it; None: the stream's client."""
    return Updated(
        stream=stream,
        from_seq=in_force.from_seq,
        model=wire_model(in_force.model),
        thresholds=in_force.thresholds,
        by=by,
    )
