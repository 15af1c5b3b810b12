"""The router alone, with real ZeroMQ sockets of libzmq as its peers."""

import asyncio
import time
from typing import Any

import uvloop
import zmq

from dimstream_server.endpoints.zmq import connection
from dimstream_server.endpoints.zmq.outbox import Outgoing
from dimstream_server.endpoints.zmq.router import Router

PAYLOAD = bytes(2**20)


TURN_S = 0.02


def never(*_: Any) -> None:
    """Nothing happens, and nothing may be sent."""


def nothing(_: bytes) -> int:
    return 0


def test_a_message_is_made_when_it_is_the_next_to_be_sent() -> None:
    made: list[int] = []
    sent: list[int] = []

    def outgoing(n: int) -> Outgoing:
        def make() -> list[Any]:
            made.append(n)
            return [b"%d" % n, PAYLOAD]

        return Outgoing(make=make, sent=lambda: sent.append(n), owed=True)

    async def fill(router: Router, peer: zmq.Socket[bytes]) -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        router.start(
            asyncio.get_running_loop(),
            lambda identity, parts, key: heard.put_nowait(identity),
            never,
            nothing,
        )
        peer.send(b"here")
        identity = await heard.get()
        for n in range(64):
            router.send(identity, outgoing(n))
        await asyncio.sleep(10 * TURN_S)
        assert made == sent
        assert len(sent) < 64
        assert not router.is_idle
        while len(sent) < 64:
            await asyncio.to_thread(peer.recv_multipart)
            await asyncio.sleep(TURN_S)
        assert made == sent == list(range(64))
        assert router.is_idle
        router.stop()
        await router.flush(5)

    router = Router(max_message_bytes=1024, max_connections=8, silence_s=30)
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.setsockopt(zmq.RCVHWM, 1)
    peer.setsockopt(zmq.RCVTIMEO, 60_000)
    peer.connect(router.bind("tcp://127.0.0.1:0"))
    asyncio.run(fill(router, peer))
    context.destroy(linger=0)
    router.close()


def test_nobody_takes_over_the_connection_of_another_behind_a_lock() -> None:
    public, secret = zmq.curve_keypair()
    client_public, client_secret = zmq.curve_keypair()
    router = Router(
        max_message_bytes=1024, max_connections=8, silence_s=30, secret_key=secret, admits=lambda *_: True
    )
    endpoint = router.bind("tcp://127.0.0.1:0")

    def peer(context: zmq.Context[zmq.Socket[bytes]], routing_id: bytes = b"") -> zmq.Socket[bytes]:
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.RCVTIMEO, 60_000)
        dealer.setsockopt(zmq.CURVE_SERVERKEY, public)
        dealer.setsockopt(zmq.CURVE_PUBLICKEY, client_public)
        dealer.setsockopt(zmq.CURVE_SECRETKEY, client_secret)
        if routing_id:
            dealer.setsockopt(zmq.ROUTING_ID, routing_id)
        dealer.connect(endpoint)
        dealer.send(b"here")
        return dealer

    async def take_over(context: zmq.Context[zmq.Socket[bytes]]) -> None:
        heard: asyncio.Queue[tuple[bytes, list[Any], str]] = asyncio.Queue()
        router.start(asyncio.get_running_loop(), lambda *told: heard.put_nowait(told), never, nothing)
        first = peer(context)
        identity, _, key = await asyncio.wait_for(heard.get(), 60)
        assert key == client_public.decode()
        thief = peer(context, identity)
        await asyncio.sleep(0.3)
        router.send(identity, Outgoing(make=lambda: [b"for the first"], owed=True))
        assert await asyncio.to_thread(first.recv) == b"for the first"
        assert heard.empty()
        assert not thief.poll(0)
        first.close(linger=0)
        thief.close(linger=0)
        router.stop()
        await router.flush(5)

    context = zmq.Context()
    asyncio.run(take_over(context))
    context.destroy(linger=0)
    router.close()


def test_nothing_is_read_while_a_message_is_being_dealt_with() -> None:
    """Also when taking it has used up the connection's turn: what came meanwhile would overrun the buffer."""
    count, part = 12, bytes(60_000)
    heard: list[int] = []

    async def deal(router: Router, peer: zmq.Socket[bytes]) -> None:
        loop = asyncio.get_running_loop()

        def take(_: bytes, parts: list[Any], __: str) -> asyncio.Future[None]:
            heard.append(len(parts[1]))
            time.sleep(2 * connection.TURN_S)
            done = loop.create_future()
            loop.call_later(5 * TURN_S, done.set_result, None)
            return done

        router.start(loop, take, never, nothing)
        for _ in range(count):
            peer.send_multipart([b"here", part])
        for _ in range(3000):
            await asyncio.sleep(TURN_S)
            if len(heard) == count:
                break
        router.stop()
        await router.flush(5)

    router = Router(max_message_bytes=1024, max_connections=8, silence_s=30)
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.connect(router.bind("tcp://127.0.0.1:0"))
    uvloop.run(deal(router, peer))
    context.destroy(linger=0)
    router.close()
    assert heard == count * [len(part)]
