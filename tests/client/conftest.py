"""A small honest DIM1 server: it echoes pixels, keeps order and credit, and refuses what it is told to."""

import math
import threading
import time
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import zmq
from ports import free_port

from dimstream_client import messages as m
from dimstream_client.errors import Code, ProtocolError
from dimstream_client.wire import decode, encode

MODEL = m.Model(id="echo", sha256="ab")


class Peer:
    """Run `serve` on a thread; the attributes may be changed while it runs.

    `refuse` maps a seq to the codes with which its frame is refused, one after the other; `hold` answers
    nothing but PING while set, and `until` no frame from that one on; `freeze` not even that; while `away`
    nobody listens. Frames of `suspect` are flagged so, the others ok. Maps say whether a pixel is odd.
    `tamper` gets each message with its parts and gives the messages that are sent instead.
    """

    def __init__(self, *, window=8, refuse=None, damage=(), suspect=(), tamper=None):
        self.window = window
        self.tamper = tamper or (lambda message, parts: [parts])
        self.refuse = {seq: deque(codes) for seq, codes in (refuse or {}).items()}
        self.damage = list(damage)
        self.suspect = set(suspect)
        self.hold = threading.Event()
        self.until = math.inf
        self.freeze = threading.Event()
        self.draining = False
        self.log = []
        self.opened = []
        self._streams = {}
        self._held = deque()
        self._stop = threading.Event()
        self.away = threading.Event()
        self._context = zmq.Context()
        self._router = self._socket()
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self._router.bind(self.endpoint)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _socket(self):
        router = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        return router

    def stop(self):
        self._stop.set()
        self._thread.join()
        self._router.close()
        self._context.term()

    def leave(self):
        """Be away, and return when nobody listens any more."""
        self.away.set()
        while not self._router.closed:
            time.sleep(0.001)

    def seqs(self, kind="FRAME"):
        return [message.seq for message in self.log if kind == message.TYPE]

    def skips(self):
        return [(s.seq_from, s.seq_to) for s in self.log if s.TYPE == "SKIP"]

    def _serve(self):
        while not self._stop.is_set():
            if not self.hold.is_set():
                while self._held and self._held[0][1].seq < self.until:
                    self._answer(*self._held.popleft())
            if self.away.is_set() != self._router.closed:
                self._come_or_go()
            if self.away.is_set():
                time.sleep(0.01)
                continue
            if self.freeze.is_set():
                time.sleep(0.01)
                continue
            if not self._router.poll(1 if self._held else 10):
                continue
            peer, *parts = self._router.recv_multipart()
            try:
                message = decode(parts, max_payload_bytes=2**27)
                self.log.append(message)
                getattr(self, "_" + message.TYPE.lower())(peer, message)
            except ProtocolError as error:
                self._say(peer, m.Error(**vars(error.problem)))

    def _come_or_go(self):
        """Vanish with all that was not sent, or come back with the streams."""
        if self.away.is_set():
            self._router.close()
            self._held.clear()
        else:
            self._router = self._socket()
            self._router.bind(self.endpoint)

    def _say(self, peer, message, **options):
        parts = [bytes(part) for part in encode(message, **options)]
        if message.TYPE == "RESULT" and message.seq in self.damage:
            self.damage.remove(message.seq)
            parts[2] = bytes(len(parts[2]))
        for instead in self.tamper(message, parts):
            self._router.send_multipart([peer, *instead])

    def _open(self, peer, message):
        if message.model == "none":
            self._say(peer, m.Error.of(Code.UNKNOWN_MODEL, "there is no model 'none'"))
            return
        stream = f"s{len(self.opened)}"
        self.opened.append(message)
        if message.stream is not None:
            self._resume(peer, message)
            return
        window = message.window or (2 if message.mode == "latest" else self.window)
        self._streams[stream] = {
            "next": 0, "window": window, "owed": 0, "thresholds": m.Thresholds(ssim=0.5),
            "checksum": message.checksum, "asked": message, "since": {},
        }  # fmt: skip
        opened = m.Opened(
            stream=stream, resume_token="t", boot_id="b", next_seq=0, limit=window, reference_frames=1,
            model=MODEL, thresholds=m.Thresholds(ssim=0.5), max_frame_bytes=2**24, lease_s=60.0,
            window=window, checksum=message.checksum, offset=message.offset, gain=message.gain,
        )  # fmt: skip
        self._say(peer, opened)

    def _resume(self, peer, message):
        """Go on where the client says, and want the frame before again."""
        state = self._streams.get(message.stream)
        if state is None or message.resume_token != "t":
            self._say(peer, m.Error.of(Code.BAD_TOKEN, "no such stream", stream=message.stream))
            return
        start = message.next_result
        self._held = deque((p, frame) for p, frame in self._held if frame.stream != message.stream)
        references = (start - 1,) if start else ()
        state.update(next=start, owed=0, references=set(references))
        opened = m.Opened(
            stream=message.stream, resume_token="t", boot_id="b", next_seq=start, limit=self._limit(state),
            reference_frames=1, model=MODEL, thresholds=state["thresholds"], max_frame_bytes=2**24,
            lease_s=60.0, window=state["window"], checksum=message.checksum, references=references,
            offset=message.offset, gain=message.gain,
        )  # fmt: skip
        self._say(peer, opened)

    def forget(self):
        """Lose all streams, as a server without a journal does that is started again."""
        self._streams.clear()

    def _limit(self, state):
        return state["next"] + state["window"] - state["owed"]

    def _in_turn(self, peer, stream, seq):
        state = self._streams[stream]
        code = None
        if seq != state["next"]:
            code = Code.SEQUENCE_GAP if seq > state["next"] else Code.DUPLICATE
        elif self.draining:
            code = Code.DRAINING
        elif self.refuse.get(seq):
            code = self.refuse[seq].popleft()
        elif seq >= self._limit(state):
            code = Code.OVER_CREDIT
        if code:
            expected = {"seq": state["next"]}
            self._say(peer, m.Error.of(code, "refused", stream=stream, seq=seq, expected=expected))
        return code is None

    def _frame(self, peer, frame):
        if frame.stream not in self._streams:
            error = m.Error.of(Code.UNKNOWN_STREAM, "unknown", stream=frame.stream, seq=frame.seq)
            self._say(peer, error)
        elif frame.seq in self._streams[frame.stream].get("references", ()):
            self._streams[frame.stream]["references"].remove(frame.seq)
        elif self._in_turn(peer, frame.stream, frame.seq):
            state = self._streams[frame.stream]
            state["next"] += 1
            state["owed"] += 1
            self._held.append((peer, frame))

    def _skip(self, peer, skip):
        if self._in_turn(peer, skip.stream, skip.seq_from):
            state = self._streams[skip.stream]
            state["next"] = skip.seq_to + 1
            self._say(peer, m.Credit(skip.stream, self._limit(state)))

    def _answer(self, peer, frame):
        state = self._streams[frame.stream]
        state["owed"] -= 1
        asked = state["asked"]
        result = m.Result(
            stream=frame.stream, seq=frame.seq, status="done",
            flag="suspect" if frame.seq in self.suspect else "ok", reason=None, ssim_prev=0.9,
            compared_seq=None, fractions=None,
            pixels=frame.pixels.astype(asked.out_dtype) if asked.deliver == "result" else None,
            model_sha256="ab", t_ms=m.Times(0, 1, 1), device=None, fallback=None, limit=self._limit(state),
            index=frame.index,
            quality=self._quality(state, frame),
            support=(frame.pixels % 2).astype(np.uint8) if asked.maps else None,
            sd=(frame.pixels / 4).astype(np.float32) if asked.sd else None,
        )  # fmt: skip
        self._say(peer, result, checksum=state["checksum"] == "crc32")

    def _quality(self, state, frame):
        plane, every = replace(frame.index, t=0), state["asked"].split_every
        since = state["since"]
        if frame.seq not in self.suspect:
            since.pop(plane, None)
        else:
            since.setdefault(plane, frame.seq)
        split = m.SplitResult(t_ms=2.0, ssim=0.5) if every and frame.index.t % every == 0 else None
        return m.QualityMetrics(
            structure_score=9.5, unsupported_fraction=0.25, suspect_since=since.get(plane), split=split
        )

    def _ack(self, peer, ack):
        pass

    def _update(self, peer, update):
        if update.model not in (None, "echo"):
            self._say(peer, m.Error.of(Code.UNKNOWN_MODEL, "unknown", stream=update.stream))
            return
        self._say(
            peer,
            m.Updated(
                update.stream, update.from_seq, MODEL, replace(m.Thresholds(), **(update.thresholds or {}))
            ),
        )

    def _close(self, peer, close):
        state = self._streams[close.stream]
        self._say(peer, m.Closed(close.stream, counts={"frames": state["next"]}))

    def _ping(self, peer, ping):
        self._say(peer, m.Pong(ping.t, "b", len(self._held)))


@pytest.fixture
def peer():
    """Start peers; all are stopped at the end."""
    peers = []

    def start(**options):
        peers.append(Peer(**options))
        return peers[-1]

    yield start
    for each in peers:
        each.stop()


@pytest.fixture(scope="module")
def module_peer():
    """One peer for a whole module."""
    peer = Peer()
    yield peer
    peer.stop()
