"""Conversion of the engine's values to DIM1 messages."""

from dimstream_client.messages import Model, Updated
from dimstream_server.engine.protocol import InForce, ModelInfo


def wire_model(model: ModelInfo) -> Model:
    """Return the model in the form of OPENED and UPDATED."""
    return Model(id=model.id, sha256=model.sha256, gain=model.gain, offset=model.offset)


def wire_update(stream: str, in_force: InForce, *, by: str | None = None) -> Updated:
    """Return UPDATED: the new model and thresholds, their first frame, and the operator; None: the stream's
    client."""
    return Updated(
        stream=stream,
        from_seq=in_force.from_seq,
        model=wire_model(in_force.model),
        thresholds=in_force.thresholds,
        by=by,
    )
