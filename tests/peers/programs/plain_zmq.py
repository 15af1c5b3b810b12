"""ZeroMQ and nothing else: a ROUTER that denoises what it gets, a DEALER that asks."""

import time

import numpy as np
import zmq


def serve(settings):
    """One thread: a frame in, a frame out."""
    from network import Network

    network = Network(settings)
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind(f"tcp://127.0.0.1:{settings['port']}")
    while True:
        who, shape, pixels = socket.recv_multipart(copy=False)
        height, width = np.frombuffer(shape.buffer, np.int32)
        frame = np.frombuffer(pixels.buffer, np.uint16).reshape(height, width)
        socket.send_multipart([who, network(frame)], copy=False)


def connect(settings):
    """What denoises one frame by a connection of its own."""
    socket = _dealer(settings)

    def denoise(frame):
        _send(socket, frame)
        return _receive(socket, frame.shape)

    return denoise


def many(settings, frames, window):
    """All frames with `window` in flight; how long it took, s."""
    socket = _dealer(settings)
    _send(socket, frames[0])
    _receive(socket, frames[0].shape)
    started = time.perf_counter()
    for n, frame in enumerate(frames):
        if n >= window:
            _receive(socket, frame.shape)
        _send(socket, frame)
    for frame in frames[-window:]:
        _receive(socket, frame.shape)
    return time.perf_counter() - started


def _dealer(settings):
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.RCVTIMEO, 120_000)
    socket.connect(f"tcp://127.0.0.1:{settings['port']}")
    return socket


def _send(socket, frame):
    socket.send_multipart([np.asarray(frame.shape, np.int32), frame], copy=False)


def _receive(socket, shape):
    return np.frombuffer(socket.recv(copy=False).buffer, np.uint16).reshape(shape)
