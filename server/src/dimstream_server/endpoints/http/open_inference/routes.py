"""The paths of the Open Inference Protocol."""

import threading
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from dimstream_server.endpoints.http.bodies import encoding_of
from dimstream_server.endpoints.http.denoising import Denoiser
from dimstream_server.endpoints.http.open_inference.bodies import (
    ConfigTensor,
    IndexEntry,
    ModelConfigBody,
    ModelMetadataBody,
    ReadinessBody,
    ServerMetadataBody,
    TensorMetadata,
)
from dimstream_server.endpoints.http.open_inference.compression import ENCODINGS, choose_encoding, unpacked
from dimstream_server.endpoints.http.open_inference.infer_request import FRAME, LENGTH_HEADER, read_request
from dimstream_server.endpoints.http.open_inference.inference import Inference
from dimstream_server.endpoints.http.open_inference.openapi_schema import INFER_OPENAPI
from dimstream_server.endpoints.http.open_inference.outputs import outputs_of
from dimstream_server.endpoints.http.openapi import problems
from dimstream_server.endpoints.http.request_workers import RequestWorkers
from dimstream_server.engine.protocol import Engine, ModelInfo
from dimstream_server.errors import UnknownModel
from dimstream_server.monitoring.readiness import Readiness
from dimstream_server.monitoring.server_info import ServerInfo
from dimstream_server.problem_details import RETRY_AFTER_S

EXTENSIONS: Final = ("binary_tensor_data", "model_configuration", "parameters")
PLATFORM, BACKEND = "dimstream_onnx", "dimstream"
_MODEL: Final = "/v2/models/{model_id}"
_VERSION: Final = _MODEL + "/versions/{version}"
_INPUT: Final = ("UINT16", (-1, -1, -1))
_CONFIG_NAMES: Final = {"BYTES": "TYPE_STRING"}


class OpenInferenceRoutes:
    """Answers under /v2.

    Parameters
    ----------
    max_body_bytes : int
        Largest request, unpacked; an answer may take four times as much, as a byte may become a float32.
    """

    def __init__(
        self,
        engine: Engine,
        denoiser: Denoiser,
        workers: RequestWorkers,
        readiness: Readiness,
        *,
        max_body_bytes: int,
    ) -> None:
        self._engine = engine
        self._workers = workers
        self._readiness = readiness
        self._max_body_bytes = max_body_bytes
        self._inference = Inference(denoiser, 4 * max_body_bytes)

    def add_to(self, app: FastAPI) -> None:
        """Serve the paths."""
        get: Any = app.get
        common = problems(401, 421, 500, 503)
        named = {**common, **problems(404)}
        probe = {"response_class": Response, "responses": problems(421, 500)}
        get("/v2", summary="Open Inference Protocol: what the server is", responses=common)(self.server)
        get("/v2/health/live", summary="As /livez, without a body", **probe)(self.live)
        get(
            "/v2/health/ready",
            summary="As /readyz, without a body",
            response_class=Response,
            responses={**problems(421, 500), 503: {"description": "Not ready"}},
        )(self.ready)
        for path in (_MODEL, _VERSION):
            get(path, summary="Inputs and outputs of a model", responses=named)(self.model)
            get(f"{path}/ready", summary="A model is served", responses=named)(self.model_ready)
            get(f"{path}/config", summary="A model as Triton's clients want it", responses=named)(self.config)
            app.post(
                f"{path}/infer",
                summary="Denoise a frame, or the frames of a movie",
                response_class=Response,
                responses=problems(400, 401, 403, 404, 408, 413, 415, 421, 422, 500, 503),
                openapi_extra=INFER_OPENAPI,
            )(self.infer)
        app.post(
            "/v2/repository/index",
            summary="Models that are served",
            response_model=list[IndexEntry],
            responses={**common, **problems(403)},
        )(self.index)

    async def server(self) -> ServerMetadataBody:
        """Say what this server is, and which extensions of the protocol it has."""
        version = ServerInfo.of(self._engine).version
        return ServerMetadataBody(name="dimstream", version=version, extensions=list(EXTENSIONS))

    async def live(self) -> Response:
        """Answer as long as the process can."""
        return Response()

    async def ready(self) -> Response:
        """Answer 200 when every check of /readyz is well, else 503."""
        if self._readiness.is_ready(self._readiness.report()):
            return Response()
        return Response(status_code=503, headers={"Retry-After": str(RETRY_AFTER_S)})

    async def model(self, model_id: str, version: str | None = None) -> ModelMetadataBody:
        """Describe the inputs and outputs of a model."""
        model = self._model(model_id, version)
        return ModelMetadataBody(
            name=model.id,
            versions=[model.sha256],
            platform=PLATFORM,
            inputs=[_metadata(FRAME, *_INPUT)],
            outputs=[_metadata(name, *one) for name, one in outputs_of(model).items()],
        )

    async def model_ready(self, model_id: str, version: str | None = None) -> ReadinessBody:
        """Answer 200 when frames for a model are taken."""
        model = self._model(model_id, version)
        self._workers.refuse_when_draining()
        return ReadinessBody(name=model.id, ready=True)

    async def config(self, model_id: str, version: str | None = None) -> ModelConfigBody:
        """Describe a model as Triton configures them."""
        model = self._model(model_id, version)
        return ModelConfigBody(
            name=model.id,
            platform=PLATFORM,
            backend=BACKEND,
            input=[_configured(FRAME, *_INPUT)],
            output=[_configured(name, *one) for name, one in outputs_of(model).items()],
        )

    async def index(self) -> Response:
        """List the models."""
        models = self._engine.models().values()
        entries = [IndexEntry(name=one.id, version=one.sha256, state="READY", reason="") for one in models]
        return JSONResponse([entry.model_dump() for entry in entries])

    async def infer(self, model_id: str, request: Request, version: str | None = None) -> Response:
        """Denoise frames; each is compared with the one before it in the request."""
        self._workers.refuse_when_draining()
        self._model(model_id, version)
        encoding = choose_encoding(request.headers.get("accept-encoding", ""))

        def work(body: bytearray, gone: threading.Event) -> Response:
            body = unpacked(body, encoding_of(request), self._max_body_bytes)
            asked = read_request(body, request.headers.get(LENGTH_HEADER))
            model = self._model(model_id, version)  # it may be another since
            client = request.state.name
            return self._inference.answer(asked, model, gone, client=client, encoding=encoding)

        return await self._workers.answer(request, work, encodings=ENCODINGS)

    def _model(self, model_id: str, version: str | None) -> ModelInfo:
        models = self._engine.models()
        if model_id not in models:
            known = ", ".join(sorted(models))
            raise UnknownModel(f"there is no model {model_id!r:.200}; expected one of {known}")
        model = models[model_id]
        if version not in (None, model.sha256):
            raise UnknownModel(
                f"there is no version {version!r:.200} of model {model_id!r}; expected {model.sha256}, the "
                "sha256 of its weights, or none"
            )
        return model


def _metadata(name: str, datatype: str, shape: tuple[int, ...]) -> TensorMetadata:
    return TensorMetadata(name=name, datatype=datatype, shape=list(shape))


def _configured(name: str, datatype: str, shape: tuple[int, ...]) -> ConfigTensor:
    data_type = _CONFIG_NAMES.get(datatype, f"TYPE_{datatype}")
    return ConfigTensor(name=name, data_type=data_type, dims=list(shape))
