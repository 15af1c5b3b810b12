"""Which HTTP requests come in: meant for this server, and with a token where tokens are wanted."""

import re
from collections.abc import Collection, Hashable
from typing import Final
from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import Scope

from dimstream_server.addresses import host_in, is_address_literal, is_loopback
from dimstream_server.endpoints.http.tickets import Tickets
from dimstream_server.endpoints.refusal_log import RefusalLog
from dimstream_server.problem_details import RequestRefused
from dimstream_server.security.access import Holder, Tokens
from dimstream_server.streams.request_rate import RateLimit

PROBES: Final = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
PAGES: Final = ("/live", "/live/assets/")
"""What a browser loads before it can ask for a token; nothing of it is secret."""
TICKET_PATH: Final = "/live/ticket"
_READING: Final = frozenset({"GET", "HEAD"})
_TICKET: Final = "ticket."  # before a ticket, among the subprotocols of a WebSocket
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/]*)(/.*)?")
_PORT: Final = re.compile(r":(\d+)$")
_FIGURES: Final = re.compile(r"/v1/streams/[^/]+/figures")
_BAD_TOKEN: Final = "bad_token"
_CHALLENGE: Final = 'Bearer realm="dimstream"'


class RequestAuthentication:
    """Judges requests by their heads.

    Parameters
    ----------
    host_names : collection of str
        Names by which the server may be asked, next to loopback ones.
    is_public : bool
        Whether other machines reach this endpoint, thus may ask for it by an IP address. That is safe:
        rebinding needs a name.
    tokens : Tokens, optional
        Of which a request must carry one, but for `PROBES` and `PAGES`.
    viewer_tokens : Tokens, optional
        Of others that may read, and change nothing.
    analysis_tokens : Tokens, optional
        Of others that may read, and send figures of frames.
    operator_tokens : Tokens, optional
        Of others that may do all that these may, and change what is served.
    pace : RateLimit
        How often one client may ask.
    """

    def __init__(
        self,
        host_names: Collection[str],
        *,
        is_public: bool,
        tokens: Tokens | None,
        pace: RateLimit,
        viewer_tokens: Tokens | None = None,
        analysis_tokens: Tokens | None = None,
        operator_tokens: Tokens | None = None,
    ) -> None:
        self._pace = pace
        self._viewer_tokens = viewer_tokens
        self._analysis_tokens = analysis_tokens
        self._operator_tokens = operator_tokens
        self._tickets: Tickets[tuple[Hashable, str]] = Tickets()
        self._host_names = {name.lower() for name in host_names}
        self._is_public = is_public
        self._tokens = tokens
        self._strangers = RefusalLog("http")

    @property
    def is_locked(self) -> bool:
        """Whether tokens are wanted."""
        return self._tokens is not None

    def admit(self, scope: Scope) -> None:
        """Let a request in; its state then says whose it is: ``client`` for limits, ``name`` for people.

        Its ``operator`` is the name of an operator, or None; its ``analyst`` that of who may send figures.

        Raises
        ------
        RequestRefused
            bad_host, bad_token.
        ServerBusy
            Its client asks too often.
        """
        host = _header(scope, b"host").decode("latin-1")
        self._check_host(host)
        self._check_origin(_header(scope, b"origin").decode("latin-1"), host)
        address = (scope.get("client") or ("unknown", 0))[0]
        operator = self._operator(scope)
        analyst = operator or self._analyst(scope)
        client, name = analyst or self._client(scope, address)
        if scope["path"] not in PROBES:
            self._pace.take(client)
        may_send_figures = analyst is not None or self._tokens is None
        state = {"operator": operator and operator.name, "analyst": name if may_send_figures else None}
        scope.setdefault("state", {}).update(client=client, name=name, **state)

    def give_ticket(self, client: Hashable, name: str) -> str:
        """A ticket that lets a client in once, for what needs no more than to read."""
        return self._tickets.give((client, name))

    def is_valid(self, client: Hashable) -> bool:
        """Whether a client that was let in still would be."""
        return self._tokens is None or any(tokens.has(client) for tokens in self._all_tokens())

    def _check_host(self, host: str) -> None:
        """A page can make a browser ask a loopback address under its own site's name (DNS rebinding)."""
        name = host_in(host)
        if name is not None and self._is_own_name(name):
            return
        raise RequestRefused(
            "bad_host",
            f"expected a loopback name in Host, or one of http.host_names, got {host[:200]!r}",
        )

    def _check_origin(self, origin: str, host: str) -> None:
        """A page of another site can make a browser send requests here, and open WebSockets."""
        if not origin:
            return
        name = host_in(origin.partition("://")[2])
        if name is not None and name == host_in(host) and _same_port(origin, host):
            return
        raise RequestRefused(
            "bad_origin", f"expected no Origin, or that of this server ({host[:200]}), got {origin[:200]!r}"
        )

    def _is_own_name(self, name: str) -> bool:
        return is_loopback(name) or name in self._host_names or (self._is_public and is_address_literal(name))

    def _operator(self, scope: Scope) -> Holder | None:
        if self._operator_tokens is None or scope["path"] in PROBES:
            return None
        return self._operator_tokens.holder_of(_header(scope, b"authorization"))

    def _analyst(self, scope: Scope) -> Holder | None:
        """Whose token for an analysis a request carries, where it asks for no more than that allows."""
        if self._analysis_tokens is None or scope["path"] in PROBES:
            return None
        holder = self._analysis_tokens.holder_of(_header(scope, b"authorization"))
        if holder is not None and not (_only_looks(scope) or _FIGURES.fullmatch(scope["path"])):
            raise RequestRefused(
                "read_only",
                "expected a token of http.tokens, got one of http.analysis_tokens, which may look and send "
                "figures of frames",
            )
        return holder

    def _client(self, scope: Scope, address: str) -> tuple[Hashable, str]:
        path = scope["path"]
        if self._tokens is None or path in PROBES or path == PAGES[0] or path.startswith(PAGES[1]):
            return address, address
        if scope["type"] == "websocket" and (ticket := _ticket(scope)) is not None:
            return self._ticket_holder(ticket, address)
        authorization = _header(scope, b"authorization")
        holder = self._tokens.holder_of(authorization)
        if holder is not None:
            return holder.digest, holder.name
        holder = None if self._viewer_tokens is None else self._viewer_tokens.holder_of(authorization)
        if holder is None:
            raise self._stranger(address, "another token" if authorization else "none")
        if not _only_looks(scope):
            raise RequestRefused(
                "read_only",
                "expected a token of http.tokens, got one of http.viewer_tokens, which may only look",
            )
        return holder.digest, holder.name

    def _ticket_holder(self, ticket: str, address: str) -> tuple[Hashable, str]:
        holder = self._tickets.take(ticket)
        if holder is None:
            raise self._stranger(address, "a ticket that was used, or is too old")
        return holder

    def _stranger(self, address: str, came: str) -> RequestRefused:
        self._pace.take(address)  # guesses have a pace of their own, which holds up nobody with a token
        self._strangers.tell(_BAD_TOKEN, address, f"request with {came}")
        challenge = _CHALLENGE if came == "none" else f'{_CHALLENGE}, error="invalid_token"'
        return RequestRefused(
            _BAD_TOKEN,
            f"expected one of this server's tokens in `Authorization: Bearer TOKEN`, got {came}; "
            "ask the people who run the server for one",
            headers={"WWW-Authenticate": challenge},
        )

    def _all_tokens(self) -> list[Tokens]:
        every = (self._tokens, self._viewer_tokens, self._analysis_tokens, self._operator_tokens)
        return [tokens for tokens in every if tokens is not None]


def _only_looks(scope: Scope) -> bool:
    return scope.get("method", "GET") in _READING or scope["path"] == TICKET_PATH


def in_origin_form(scope: Scope) -> Scope:
    """The request, where it was for ``http://HOST/PATH`` made one for PATH of HOST (RFC 9112, 3.2.2)."""
    match = _ABSOLUTE.fullmatch(scope["raw_path"])
    if match is None:
        return scope
    path = match[2] or b"/"
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "headers": [(b"host", match[1]), *headers],
    }


def _ticket(scope: Scope) -> str | None:
    """What stands behind `ticket.` among the subprotocols that a WebSocket asks for."""
    offered = (name for name in scope["subprotocols"] if name.startswith(_TICKET))
    return next((name.removeprefix(_TICKET) for name in offered), None)


def _same_port(origin: str, host: str) -> bool:
    """Whether both name the same port; a proxy may have left it out of Host."""
    port = _port(host)
    return port is None or port == (_port(origin.partition("://")[2]) or port)


def _port(authority: str) -> str | None:
    return match[1] if (match := _PORT.search(authority)) else None


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


def operator_of(request: Request) -> str:
    """Name of the operator whose token a request carries.

    Raises
    ------
    RequestRefused
    """
    operator: str | None = request.state.operator
    if operator is None:
        raise RequestRefused(
            "not_operator",
            "expected a token of http.operator_tokens in `Authorization: Bearer TOKEN`; "
            "`dimstream-server keygen FOLDER --operator NAME` makes one",
        )
    return operator
