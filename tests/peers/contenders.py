"""Who takes part: what is installed for it, and which program speaks for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Environment:
    """What a peer is installed with, in a virtual environment of its own.

    Parameters
    ----------
    requirements : tuple of str
        For pip; ONNX Runtime comes on top, in the version of dimstream.
    shown : tuple of str
        Distributions whose versions belong into the table.
    """

    name: str
    requirements: tuple[str, ...]
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Contender:
    """One way of a frame to a network and back.

    Parameters
    ----------
    program : str
        Module of `programs`: the client's side and, for a peer, the server's.
    environment : Environment or None
        None: that of dimstream, whose server it asks.
    """

    name: str
    title: str
    program: str
    environment: Environment | None = None

    @property
    def is_ours(self) -> bool:
        """Whether a dimstream server answers."""
        return self.name.startswith("dimstream")


PYZMQ = Environment("pyzmq", ("pyzmq==27.3.0",), ("pyzmq",))
FASTAPI = Environment("fastapi", ("fastapi==0.165.0", "uvicorn[standard]"), ("fastapi", "uvicorn"))
BENTOML = Environment("bentoml", ("bentoml==1.4.40",), ("bentoml",))
TRITON = Environment(
    "triton",
    ("nvidia-pytriton==0.7.0", "tritonclient[http]==2.73.0"),
    ("nvidia-pytriton", "tritonclient"),
)

CONTENDERS = (
    Contender("dimstream-zmq", "dimstream, ZeroMQ", "dimstream_zmq"),
    Contender("dimstream-http", "dimstream, HTTP", "dimstream_http"),
    Contender("pyzmq", "plain pyzmq", "plain_zmq", PYZMQ),
    Contender("fastapi", "FastAPI, raw body", "fastapi_raw", FASTAPI),
    Contender("bentoml", "BentoML, raw body", "bento", BENTOML),
    Contender("triton", "Triton (nvidia-pytriton), its HTTP client", "triton", TRITON),
    Contender("dimstream-triton", "dimstream, Triton's HTTP client", "dimstream_triton", TRITON),
)
