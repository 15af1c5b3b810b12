"""Which HTTP requests come in: meant for this server, and with a token where tokens are wanted."""

import re
from collections.abc import Collection, Hashable
from typing import Final
from urllib.parse import unquote

from starlette.types import Scope

from dimstream_server.access import Tokens
from dimstream_server.addresses import host_in, is_address_literal, is_loopback
from dimstream_server.endpoints.refusal_log import RefusalLog
from dimstream_server.problems import RequestRefused
from dimstream_server.streams.rate_limit import RateLimit

PROBES: Final = frozenset({"/livez", "/readyz"})
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/]*)(/.*)?")
_BAD_TOKEN: Final = "bad_token"
_CHALLENGE: Final = 'Bearer realm="dimstream"'


class RequestAuthentication:
    """Judges requests by their heads.

    Parameters
    ----------
    host_names : collection of str
        Names by which the server may be asked, beside loopback ones.
    is_public : bool
        Whether other machines reach this endpoint, thus may ask for it by an IP address. That is safe:
        rebinding needs a name.
    tokens : Tokens, optional
        Of which a request must carry one, but for `PROBES`.
    pace : RateLimit
        How often one client may ask.
    """

    def __init__(
        self, host_names: Collection[str], *, is_public: bool, tokens: Tokens | None, pace: RateLimit
    ) -> None:
        self._pace = pace
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

        Raises
        ------
        RequestRefused
            bad_host, bad_token.
        ServerBusy
            Its client asks too often.
        """
        self._check_host(_header(scope, b"host").decode("latin-1"))
        address = (scope.get("client") or ("unknown", 0))[0]
        client, name = self._client(scope, address)
        if scope["path"] not in PROBES:
            self._pace.take(client)
        scope.setdefault("state", {}).update(client=client, name=name)

    def _check_host(self, host: str) -> None:
        """A page can make a browser ask a loopback address under its own site's name (DNS rebinding)."""
        name = host_in(host)
        if name is not None and self._is_own_name(name):
            return
        raise RequestRefused(
            "bad_host",
            f"expected a loopback name in Host, or one of http.host_names, got {host[:200]!r}",
        )

    def _is_own_name(self, name: str) -> bool:
        return is_loopback(name) or name in self._host_names or (self._is_public and is_address_literal(name))

    def _client(self, scope: Scope, address: str) -> tuple[Hashable, str]:
        if self._tokens is None or scope["path"] in PROBES:
            return address, address
        authorization = _header(scope, b"authorization")
        holder = self._tokens.holder_of(authorization)
        if holder is not None:
            return holder.digest, holder.name
        self._pace.take(address)  # guesses have a pace of their own, which holds up nobody with a token
        came = "another token" if authorization else "none"
        self._strangers.tell(_BAD_TOKEN, address, f"request with {came}")
        challenge = f'{_CHALLENGE}, error="invalid_token"' if authorization else _CHALLENGE
        raise RequestRefused(
            _BAD_TOKEN,
            f"expected one of this server's tokens in `Authorization: Bearer TOKEN`, got {came}; "
            "ask the people who run the server for one",
            headers={"WWW-Authenticate": challenge},
        )


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


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")
