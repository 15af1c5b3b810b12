"""Refusals as both endpoints tell them: RFC 9457 problem details with a stable `code`.

What a code means is the client's to say (`dimstream_client.errors.MEANINGS`); codes that only HTTP needs are
added here.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from dimstream_client.errors import MEANINGS, DimstreamError, Meaning, Problem
from dimstream_client.messages import Error
from dimstream_server.errors import Refused, ServerError

PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

ALL_MEANINGS: Mapping[str, Meaning] = {
    **MEANINGS,
    "bad_query": Meaning("A query parameter is unknown or has a bad value", 422, False),
    "bad_multipart": Meaning("The body is not the multipart form that was announced", 400, False),
    "not_found": Meaning("No such resource", 404, False),
    "method_not_allowed": Meaning("The resource has no such method", 405, False),
    "not_acceptable": Meaning("The answer cannot be given in this form", 406, False),
    "unsupported_media_type": Meaning("The body is of a type that is not read here", 415, False),
    "bad_request": Meaning("The request cannot be understood", 400, False),
    "head_too_large": Meaning("The request's head is larger than the limit", 431, False),
    "request_timeout": Meaning("The body did not come in time", 408, True),
    "upgrade_required": Meaning("A WebSocket is expected here", 426, False),
    "bad_origin": Meaning("The request comes from another site's page", 403, False),
    "read_only": Meaning("The token allows to look, and no more", 403, False),
    "not_operator": Meaning("The request needs an operator's token", 403, False),
    "not_analyst": Meaning("The request needs the token of an analysis, or an operator's", 403, False),
    "not_newer": Meaning("The figures of this frame, or of a newer one, are known", 409, False),
    "model_in_use": Meaning("Streams need the model", 409, False),
    "too_many_models": Meaning("As many models are served as may be", 409, False),
    "unknown_bundle": Meaning("No such bundle in the folders of bundles", 404, False),
    "bad_bundle": Meaning("The bundle cannot be served", 422, False),
    "bad_host": Meaning("The request was meant for another host", 421, False),
}


class RequestRefused(Refused):
    """An endpoint says no before the engine is asked.

    Parameters
    ----------
    code : str
        One of `ALL_MEANINGS`.
    expected : mapping, optional
        What would have been taken, e.g. ``{"seq": 7}``.
    headers : mapping, optional
        Sent along by HTTP, e.g. ``Allow``.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        expected: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.retryable = ALL_MEANINGS[code].retryable
        self.expected = expected
        self.headers = dict(headers or {})


def error_message(
    code: str,
    detail: str,
    *,
    stream: str | None = None,
    seq: int | None = None,
    expected: Mapping[str, Any] | None = None,
) -> Error:
    """ERROR as it travels on the wire, with the title, status and retryability of its code."""
    return Error.of(code, detail, stream=stream, seq=seq, expected=expected, meanings=ALL_MEANINGS)


def problem_of(error: ServerError | DimstreamError) -> Problem:
    """The problem that tells this error."""
    if isinstance(error, DimstreamError):
        return error_message(error.code, error.detail)
    expected = error.expected if isinstance(error, RequestRefused) else None
    return error_message(error.code, str(error), expected=expected)


def problem_body(problem: Problem) -> dict[str, Any]:
    """JSON object for an ``application/problem+json`` answer."""
    body: dict[str, Any] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "retryable": problem.retryable,
    }
    return body if problem.expected is None else {**body, "expected": dict(problem.expected)}


def problem_headers(problem: Problem) -> dict[str, str]:
    """``Retry-After`` where trying again later helps."""
    return {"Retry-After": str(RETRY_AFTER_S)} if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
