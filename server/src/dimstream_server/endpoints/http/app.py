"""The request endpoint: stacks by POST, what the server is and does by GET. It only translates."""

import threading
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from dimstream_server.addresses import is_public_address
from dimstream_server.endpoints.http.authentication import PROBES, RequestAuthentication
from dimstream_server.endpoints.http.denoise_query import DenoiseQuery, read_query
from dimstream_server.endpoints.http.denoising import Denoised, Denoiser, Order
from dimstream_server.endpoints.http.flag_headers import headers_of
from dimstream_server.endpoints.http.frame_figures import FigureRoutes
from dimstream_server.endpoints.http.image_answers import JSON
from dimstream_server.endpoints.http.json_bodies import (
    ModelBody,
    ModelsBody,
    ReadyBody,
    ServerBody,
    StreamBody,
    StreamsBody,
)
from dimstream_server.endpoints.http.json_requests import JsonRequests
from dimstream_server.endpoints.http.live.status import AlertReport
from dimstream_server.endpoints.http.live.view import LiveView
from dimstream_server.endpoints.http.open_inference.openapi_schema import SCHEMAS as INFER_SCHEMAS
from dimstream_server.endpoints.http.open_inference.routes import OpenInferenceRoutes
from dimstream_server.endpoints.http.openapi import (
    DENOISE_OPENAPI,
    NOT_READY,
    describe_problems,
    describe_query,
    problems,
)
from dimstream_server.endpoints.http.operator_routes import OperatorRoutes
from dimstream_server.endpoints.http.reports import ReportBody
from dimstream_server.endpoints.http.request_workers import RequestWorkers
from dimstream_server.endpoints.http.requests import Observer, ProblemResponder
from dimstream_server.endpoints.http.worker_routes import WorkerRoutes
from dimstream_server.engine.protocol import Engine, ModelInfo
from dimstream_server.errors import UnknownModel
from dimstream_server.monitoring.metrics import METRICS_MEDIA_TYPE, Metrics
from dimstream_server.monitoring.readiness import Readiness
from dimstream_server.monitoring.server_info import ServerInfo
from dimstream_server.problem_details import RETRY_AFTER_S
from dimstream_server.security.access import Tokens
from dimstream_server.settings import Settings
from dimstream_server.streams import StreamService
from dimstream_server.streams.request_rate import RateLimit
from dimstream_server.workers import WorkersEngine


class HttpApp:
    """Answers HTTP requests by the engine.

    Parameters
    ----------
    service : StreamService
        Denoises; started.
    tokens : Tokens, optional
        Of which requests must carry one.
    viewer_tokens : Tokens, optional
        Of others that may look, and no more.
    analysis_tokens : Tokens, optional
        Of others that may look, and send figures of frames.
    operator_tokens : Tokens, optional
        Of others, for what only operators may.
    readiness : Readiness
        What /readyz asks; this endpoint adds whether the server drains.
    alerts : callable
        Gives the alerts that stand.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        metrics: Metrics,
        *,
        service: StreamService,
        readiness: Readiness,
        alerts: AlertReport = list,
        tokens: Tokens | None = None,
        viewer_tokens: Tokens | None = None,
        analysis_tokens: Tokens | None = None,
        operator_tokens: Tokens | None = None,
    ) -> None:
        self._engine = engine
        info = ServerInfo.of(engine)
        self._server = ServerBody.of(info)
        self._authentication = RequestAuthentication(
            settings.http.host_names,
            is_public=is_public_address(settings.http.address),
            tokens=tokens,
            viewer_tokens=viewer_tokens,
            analysis_tokens=analysis_tokens,
            operator_tokens=operator_tokens,
            pace=RateLimit(settings.limits.max_requests_per_s_per_client),
        )
        self._metrics = metrics
        self._service = service
        self._denoiser = Denoiser(
            service=service,
            window=settings.http.window,
            max_bytes=settings.http.max_body_bytes,
            max_frame_bytes=settings.limits.max_frame_bytes,
        )
        self._workers = RequestWorkers(settings, metrics)
        bodies = JsonRequests(settings, self._workers.buffers)
        self._operator_routes = OperatorRoutes(service, bodies)
        self._worker_routes = (
            WorkerRoutes(engine, settings, bodies) if isinstance(engine, WorkersEngine) else None
        )
        self._readiness = readiness
        self._open_inference = OpenInferenceRoutes(
            *(engine, self._denoiser, self._workers, readiness), max_body_bytes=settings.http.max_body_bytes
        )
        readiness.add("draining", lambda: "the server is stopping" if self._workers.is_draining else None)
        self.responder = ProblemResponder(metrics)
        self._live = LiveView(
            *(service, settings, metrics, info),
            readiness=readiness,
            alerts=alerts,
            authentication=self._authentication,
            responder=self.responder,
            buffers=self._workers.buffers,
        )
        self._figure_routes = FigureRoutes(service, self._live.history, metrics, bodies)
        self.app = self._make_app()

    def start(self) -> None:
        """Show streams from now on; on the loop's thread."""
        self._live.start()

    def begin_drain(self) -> None:
        """Refuse new work; requests that are being denoised are finished."""
        self._workers.begin_drain()

    @property
    def is_drained(self) -> bool:
        """Whether no request is being denoised, and no answer is leaving."""
        return self._workers.is_drained

    def close(self) -> None:
        """Let the worker threads end."""
        self._live.close()
        self._figure_routes.close()
        self._workers.close()

    def _make_app(self) -> FastAPI:
        app = FastAPI(
            title="dimstream",
            summary="Denoised microscopy frames, each with a flag on whether it can be trusted.",
            docs_url=None,  # they load scripts from elsewhere
            redoc_url=None,
            redirect_slashes=False,  # most programs that post a stack would take the redirect for an answer
        )
        describe_problems(
            app, locked=self._authentication.is_locked, open_paths=PROBES, schemas=INFER_SCHEMAS
        )
        self.responder.add_to(app)
        app.add_middleware(
            Observer, metrics=self._metrics, responder=self.responder, authentication=self._authentication
        )
        get: Any = app.get
        app.post(
            "/v1/models/{model_id}/denoise",
            summary="Denoise an image or a stack",
            response_class=Response,
            responses=problems(400, 401, 404, 406, 408, 413, 415, 421, 422, 500, 503),
            openapi_extra={**DENOISE_OPENAPI, "parameters": describe_query(DenoiseQuery)},
        )(self.denoise)
        probe = problems(421, 500)
        common = problems(401, 421, 500, 503)
        get("/v1/models", summary="Models that are served", responses=common)(self.models)
        get("/v1/models/{model_id}", summary="One model", responses={**common, **problems(404)})(self.model)
        get(
            "/v1/streams",
            summary="Streams that are open",
            responses=common,
        )(self.streams)
        get("/livez", summary="The event loop turns; nothing else", responses=probe)(self.livez)
        get("/readyz", summary="Work can be sent here", responses={**probe, **NOT_READY})(self.readyz)
        get(
            "/metrics",
            summary="Figures in Prometheus' text format",
            response_class=Response,
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **common},
        )(self.metrics)
        self._live.add_to(app)
        self._operator_routes.add_to(app)
        if self._worker_routes is not None:
            self._worker_routes.add_to(app)
        self._figure_routes.add_to(app)
        self._open_inference.add_to(app)
        return app

    async def denoise(self, model_id: str, request: Request) -> Response:
        """Denoise the frames of a TIFF or NPY file; each (channel, z, position) is compared with its past."""
        query = read_query(request.query_params)
        self._workers.refuse_when_draining()
        self._model(model_id)
        view = query.view_order()
        media_type = query.media_type(request.headers.get("accept", "*/*"))

        def work(body: bytearray, gone: threading.Event) -> Response:
            order = Order(
                model=self._model(model_id),  # it may be another since
                body=body,
                content_type=request.headers.get("content-type", ""),
                media_type=media_type,
                options=query,
                choice=query.choice(),
                output=query.output,
                view=view,
                client=request.state.name,
            )
            return _answer(order, self._denoiser.denoise(order, gone))

        return await self._workers.answer(request, work)

    def _model(self, model_id: str) -> ModelInfo:
        models = self._engine.models()
        if model_id not in models:
            raise UnknownModel(f"there is no model {model_id!r}; expected one of {', '.join(sorted(models))}")
        return models[model_id]

    async def models(self) -> ModelsBody:
        """List the models."""
        default = self._service.models.default()
        models = [ModelBody.of(model, default=default) for model in self._engine.models().values()]
        return ModelsBody(models=models, server=self._server)

    async def model(self, model_id: str) -> ModelBody:
        """Describe one model."""
        return ModelBody.of(self._model(model_id), default=self._service.models.default())

    async def streams(self) -> StreamsBody:
        """List the streams that are open, and the requests that are being denoised."""
        return StreamsBody(streams=[StreamBody.of(one, self._service) for one in self._service.streams()])

    async def livez(self) -> dict[Literal["status"], Literal["alive"]]:
        """Answer as long as the process can."""
        return {"status": "alive"}

    async def readyz(self, response: Response) -> ReadyBody:
        """Answer 200 when every check is well, else 503; each says `ok`, or why not."""
        checks = self._readiness.report()
        ready = self._readiness.is_ready(checks)
        if not ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return ReadyBody(ready=ready, checks=checks, server=self._server)

    async def metrics(self) -> Response:
        """Give the figures."""
        return Response(self._metrics.exposition(), media_type=METRICS_MEDIA_TYPE)


def _answer(order: Order, denoised: Denoised) -> Response:
    headers = headers_of(order, denoised)
    if order.media_type == JSON:
        report = ReportBody.of(order, denoised)
        return JSONResponse(report.model_dump(mode="json"), headers=headers)
    return Response(denoised.file, media_type=order.media_type, headers=headers)
