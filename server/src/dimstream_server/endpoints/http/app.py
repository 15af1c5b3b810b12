"""The request endpoint: stacks by POST, what the server is and does by GET. It only translates."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from dimstream_models.quality.detector import Detector
from dimstream_server.addresses import is_public_address
from dimstream_server.endpoints.http.authentication import PROBES, RequestAuthentication
from dimstream_server.endpoints.http.bodies import BodyLimits, LeavingAnswer, read_body
from dimstream_server.endpoints.http.capacity import Buffers, Slots
from dimstream_server.endpoints.http.denoise_query import DenoiseQuery, read_query
from dimstream_server.endpoints.http.denoising import Abandoned, Denoised, Denoiser, Order
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
from dimstream_server.endpoints.http.openapi import (
    DENOISE_OPENAPI,
    NOT_READY,
    describe_problems,
    describe_query,
    problems,
)
from dimstream_server.endpoints.http.operator import OperatorRoutes
from dimstream_server.endpoints.http.reports import ReportBody
from dimstream_server.endpoints.http.requests import (
    CLIENT_CLOSED_REQUEST,
    Observer,
    ProblemResponder,
    is_disconnected,
)
from dimstream_server.engine.protocol import Engine, ModelInfo
from dimstream_server.errors import Draining, UnknownModel
from dimstream_server.monitoring.metrics import METRICS_MEDIA_TYPE, Metrics
from dimstream_server.monitoring.readiness import Readiness
from dimstream_server.monitoring.server_info import ServerInfo
from dimstream_server.problems import RETRY_AFTER_S
from dimstream_server.security.access import Tokens
from dimstream_server.settings import Settings
from dimstream_server.streams import StreamService
from dimstream_server.streams.request_rate import RateLimit

_log = logging.getLogger(__name__)


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
        self._workers = ThreadPoolExecutor(settings.http.max_requests, thread_name_prefix="http")
        self._slots = Slots(settings.http.max_requests, settings.limits.max_requests_per_client)
        self._buffers = Buffers(settings.http.buffered_bytes)
        metrics.watch(
            "dimstream_http_buffered_bytes",
            "Bytes of HTTP bodies that are arriving and of answers that are leaving.",
            lambda: self._buffers.held_bytes,
        )
        self._body_limits = _body_limits(settings)
        bodies = JsonRequests(settings, self._buffers)
        self._operator_routes = OperatorRoutes(service, bodies)
        self._draining = False
        self._readiness = readiness
        readiness.add("draining", lambda: "the server is stopping" if self._draining else None)
        self.responder = ProblemResponder(metrics)
        self._live = LiveView(
            *(service, settings, metrics, info),
            readiness=readiness,
            alerts=alerts,
            authentication=self._authentication,
            responder=self.responder,
            buffers=self._buffers,
        )
        self._figure_routes = FigureRoutes(service, self._live.history, metrics, bodies)
        self.app = self._make_app()

    def start(self) -> None:
        """Show streams from now on; on the loop's thread."""
        self._live.start()

    def begin_drain(self) -> None:
        """Refuse new work; requests that are being denoised are finished."""
        self._draining = True

    @property
    def is_drained(self) -> bool:
        """Whether no request is being denoised, and no answer is leaving."""
        return self._slots.is_idle

    def close(self) -> None:
        """Let the worker threads end."""
        self._live.close()
        self._figure_routes.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _make_app(self) -> FastAPI:
        app = FastAPI(
            title="dimstream",
            summary="Denoised microscopy frames, each with a flag on whether it can be believed.",
            docs_url=None,  # they load scripts from elsewhere
            redoc_url=None,
            redirect_slashes=False,  # most programs that post a stack would take the redirect for an answer
        )
        describe_problems(app, locked=self._authentication.is_locked, open_paths=PROBES)
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
        self._figure_routes.add_to(app)
        return app

    async def denoise(self, model_id: str, request: Request) -> Response:
        """Denoise the frames of a TIFF or NPY file; each (channel, z, position) is compared with its past."""
        query = read_query(request.query_params)
        self._refuse_when_draining()
        self._model(model_id)
        view = query.view_order()
        media_type = query.media_type(request.headers.get("accept", "*/*"))
        client = request.state.client
        self._slots.check(client)  # before its body is sent, as a place may be free only later
        try:
            with self._buffers.share(client) as share:
                body = await read_body(request, self._body_limits, share)
                self._refuse_when_draining()
                slot = self._slots.take(client)
            try:
                order = Order(
                    model=self._model(model_id),  # it may be another since
                    body=body,
                    content_type=request.headers.get("content-type", ""),
                    media_type=media_type,
                    out_dtype=query.out_dtype,
                    choice=query.choice(),
                    output=query.output,
                    split_every=query.split_every,
                    view=view,
                    detector=Detector.given(query.offset, query.gain),
                    client=request.state.name,
                    match_pixel_size=query.match_pixel_size,
                )
                answer = await self._fill(order, request)
            except BaseException:
                slot.close()
                raise
            return LeavingAnswer(answer, slot, self._buffers.share(client))
        except Abandoned:
            _log.info("client gone event=client_gone endpoint=http model=%s", model_id)
            return Response(status_code=CLIENT_CLOSED_REQUEST)

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise Draining("the server is shutting down; try again when it is back")

    async def _fill(self, order: Order, request: Request) -> Response:
        """Denoise in a worker thread, and tell it to stop when the client goes."""
        gone = threading.Event()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._workers, self._work, order, gone)
        watch = asyncio.ensure_future(is_disconnected(request, gone))
        try:
            return await work
        finally:
            gone.set()  # also when this task is cancelled
            watch.cancel()

    def _work(self, order: Order, gone: threading.Event) -> Response:
        """The answer to an order; in a worker thread, since the report of a long stack takes its time."""
        return _answer(order, self._denoiser.denoise(order, gone))

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


def _body_limits(settings: Settings) -> BodyLimits:
    http = settings.http
    return BodyLimits(http.max_body_bytes, http.stall_s, http.min_body_bytes_per_s, http.body_s)


def _answer(order: Order, denoised: Denoised) -> Response:
    headers = headers_of(order, denoised)
    if order.media_type == JSON:
        report = ReportBody.of(order, denoised)
        return JSONResponse(report.model_dump(mode="json"), headers=headers)
    return Response(denoised.file, media_type=order.media_type, headers=headers)
