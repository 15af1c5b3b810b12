"""The mail relay of `docs/alerts.md`, as it stands there: a notice becomes a mail."""

import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import pytest
from ports import free_port

from dimstream_server.alerts.alert import Finding, Notice
from dimstream_server.alerts.webhook import post
from dimstream_server.settings import AlertsTable

PAGE = Path(__file__).parents[3] / "docs" / "alerts.md"
ANSWERS = {"DATA": "354 go on", "QUIT": "221 bye"}


class MailServer(socketserver.ThreadingTCPServer):
    """Takes any mail, and keeps it."""

    daemon_threads = True
    mails: list[str]


class Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            word = line.split()[0].upper()
            self._say(ANSWERS.get(word, "250 fine"))
            if word == "DATA":
                assert isinstance(self.server, MailServer)
                self.server.mails.append(self._mail())
                self._say("250 taken")
            if word == "QUIT":
                return

    def _mail(self) -> str:
        lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
        return "".join(lines).replace("\r\n", "\n")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer(("127.0.0.1", 0), Conversation) as server:
        server.mails = []
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def until_it_listens(port: int, relay: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert relay.poll() is None
        assert time.monotonic() < deadline
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)


def test_a_notice_becomes_a_mail(mail_server: MailServer, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(# relay\.py.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    port = free_port()
    assert "8600" in code
    (tmp_path / "relay.py").write_text(code.replace("8600", str(port)))
    words = [f"127.0.0.1:{mail_server.server_address[1]}", "microscopes@example.org", "someone@example.org"]
    finding = Finding(rule="frames_stop", subject="s1", text="no frame for 60 s", stream="s1", client="sted")
    notice = Notice(event="raised", finding=finding, at=2.0, since=1.0)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "relay.py"), *words], stderr=subprocess.DEVNULL
    ) as relay:
        try:
            until_it_listens(port, relay)
            url = f"http://127.0.0.1:{port}"
            post(notice, AlertsTable(webhook_url=url, webhook_timeout_s=60))  # type: ignore[arg-type]
        finally:
            relay.kill()
    (mail,) = map(message_from_string, mail_server.mails)
    assert (mail["To"], mail["Subject"]) == ("someone@example.org", "dimstream: raised frames_stop")
    assert str(mail.get_payload()).startswith("no frame for 60 s\n")
