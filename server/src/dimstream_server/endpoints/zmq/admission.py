"""Who may use the ZeroMQ endpoint: at the handshake and, as keys are taken back, at every message."""

from dimstream_server.endpoints.refusal_log import RefusalLog
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.security.access import Access, AllowedClients

NOT_ADMITTED = "not_admitted"
_OWN_ROUTING_ID = 0  # first byte of those that the server's socket makes up
_REVOKED = "this client's key is not admitted any more; ask the people who run the server"
_NAMED_ITSELF = "expected no routing id of your own on an encrypted connection; leave ZMQ_ROUTING_ID unset"


class Handshakes:
    """Judges handshakes; for the thread that handles them.

    Parameters
    ----------
    clients : AllowedClients
        Who is admitted.
    """

    def __init__(self, clients: AllowedClients, metrics: Metrics) -> None:
        self._clients = clients
        self._metrics = metrics
        self._log = RefusalLog("zmq")

    def admits(self, key: str, address: str) -> bool:
        """Whether a client of this public key may connect."""
        if self._clients.name_of(key) is not None:
            return True
        self._metrics.refused("zmq", NOT_ADMITTED)
        self._log.tell(NOT_ADMITTED, address, "handshake with a key that is not among the allowed clients")
        return False


class Admission:
    """Judges peers that have passed the handshake."""

    def __init__(self, access: Access) -> None:
        self._clients = access.clients

    def refusal(self, peer: bytes, key: str) -> str | None:
        """Why a peer is not dealt with; None where it is.

        Parameters
        ----------
        peer : bytes
            Its routing id. Where clients have keys, only the server makes these up: otherwise a client could
            take the name of another that has just gone, and with it results that are still on their way.
        key : str
            Its public key (Z85); empty where clients have none.
        """
        if self._clients is None:
            return None
        if self._clients.name_of(key) is None:
            return _REVOKED
        return None if peer[0] == _OWN_ROUTING_ID else _NAMED_ITSELF

    def name_of(self, key: str) -> str:
        """The name of a client in the list; empty where there is none."""
        return (self._clients.name_of(key) if self._clients is not None else None) or ""
