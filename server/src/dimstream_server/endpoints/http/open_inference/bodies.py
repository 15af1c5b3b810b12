"""JSON of the Open Inference Protocol: what may be asked, and what is answered."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dimstream_client.header_checks import MAX_TEXT
from dimstream_server.endpoints.http.frame_options import FrameOptions
from dimstream_server.endpoints.http.json_bodies import Body

MAX_SIDE = 2**31 - 1
MOST_TENSORS = 256

Side = Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]
Axes = Literal["TYX", "ZYX"]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class InputParameters(_Asked):
    """How an input is sent."""

    binary_data_size: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        None, description="bytes of it after the JSON; without it the values are in `data`"
    )


class InputTensor(_Asked):
    """Frames to be denoised."""

    name: str = Field(max_length=MAX_TEXT, description="`frame`")
    shape: list[Side] = Field(max_length=8, description="(H, W), or (N, H, W): time points or planes")
    datatype: str = Field(max_length=16, description="UINT16, or another type of whole or real numbers")
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = Field(None, description="values, flat or nested, row by row")


class OutputParameters(_Asked):
    """How an output is to be sent."""

    binary_data: bool | None = Field(None, description="after the JSON instead of in it")


class OutputRequest(_Asked):
    """An output that is wanted."""

    name: str = Field(max_length=MAX_TEXT)
    parameters: OutputParameters = OutputParameters()


class InferParameters(FrameOptions):
    """What holds for the whole request."""

    axes: Axes = Field("TYX", description="what N frames are: time points of a movie, or planes of a z-stack")
    binary_data_output: bool = Field(False, description="send outputs after the JSON, unless they say else")


class InferRequestBody(_Asked):
    """Frames to be denoised, and what is wanted of them."""

    id: str | None = Field(None, max_length=MAX_TEXT, description="given back in the answer")
    parameters: InferParameters = InferParameters()
    inputs: list[InputTensor] = Field(max_length=MOST_TENSORS, description="one, `frame`")
    outputs: list[OutputRequest] | None = Field(
        None, max_length=MOST_TENSORS, description="without it: denoised counts, flags and figures"
    )


class OutputTensor(Body):
    """One output."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = Field(None, description="binary_data_size: its bytes after the JSON")
    data: list[Any] | None = None


class InferResponseBody(Body):
    """What was found of the frames."""

    model_name: str
    model_version: str = Field(description="sha256 of the weights")
    id: str | None = None
    outputs: list[OutputTensor]


class ServerMetadataBody(Body):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Body):
    """An input or output of a model; -1 stands for any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadataBody(Body):
    """A model's inputs and outputs."""

    name: str
    versions: list[str] = Field(description="sha256 of the weights")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ConfigTensor(Body):
    """An input or output, as Triton's configuration names it."""

    name: str
    data_type: str
    dims: list[int]


class TransactionPolicy(Body):
    """One answer for one request."""

    decoupled: bool = False


class ModelConfigBody(Body):
    """What Triton's clients read of a model's configuration."""

    name: str
    platform: str
    backend: str
    max_batch_size: int = Field(0, description="0: the frames of a request depend on each other")
    input: list[ConfigTensor]
    output: list[ConfigTensor]
    model_transaction_policy: TransactionPolicy = TransactionPolicy()


class ReadinessBody(Body):
    """A model can be asked."""

    name: str
    ready: bool


class IndexEntry(Body):
    """A model that is served."""

    name: str
    version: str
    state: str
    reason: str
