"""What is needed to resume a stream, and its JSON form."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from dimstream_client.errors import ProtocolError, SpoolError
from dimstream_client.messages import Open
from dimstream_client.wire import decode, encode


@dataclass(frozen=True)
class ResumeHandle:
    """What is needed to resume a stream; everyone who has it can resume the stream.

    Parameters
    ----------
    request : Open
        The request that opened it.
    """

    endpoint: str
    stream: str
    resume_token: str
    request: Open

    def resumption(self, next_result: int) -> Open:
        """Return the OPEN that resumes the stream from result `next_result` on."""
        return replace(
            self.request, stream=self.stream, resume_token=self.resume_token, next_result=next_result
        )

    def to_json(self) -> str:
        """Return it as text that `of_json` reads."""
        opened = json.loads(bytes(encode(self.request)[1]))
        fields = {"endpoint": self.endpoint, "stream": self.stream, "resume_token": self.resume_token}
        return json.dumps({"version": 1, **fields, "open": opened}, indent=1)

    @classmethod
    def of_json(cls, text: str, *, where: str) -> ResumeHandle:
        """Return the resume handle that `to_json` wrote.

        Raises
        ------
        SpoolError
            When the text is not a resume handle.
        """
        try:
            fields = json.loads(text)
            if fields["version"] != 1:
                raise SpoolError(f"{where}: expected version 1, got {fields['version']!r}")
            request = decode([b"DIM1OPEN", json.dumps(fields["open"]).encode()], max_payload_bytes=0)
            names = [fields[name] for name in ("endpoint", "stream", "resume_token")]
        except (ValueError, KeyError, TypeError, RecursionError, ProtocolError) as error:
            raise SpoolError(
                f"{where}: expected what resumes a stream, got something else: {error}"
            ) from None
        if not isinstance(request, Open) or not all(isinstance(name, str) for name in names):
            raise SpoolError(f"{where}: expected what resumes a stream, got something else")
        endpoint, stream, resume_token = names
        return cls(endpoint, stream, resume_token, request)
