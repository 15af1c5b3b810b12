"""Triton as nvidia-pytriton has it, with its Python backend, the only one in there; NVIDIA's client."""

import os
import sysconfig

import numpy as np


def serve(settings):
    """One instance of the model; no batching."""
    from network import Network
    from pytriton.model_config import ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    # Its Python backend links libpython, and would find another than that of this interpreter's library.
    os.environ["LD_LIBRARY_PATH"] = (
        f"{sysconfig.get_config_var('LIBDIR')}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    )
    network = Network(settings)

    def infer(requests):
        return [{"denoised": network(request["frame"])} for request in requests]

    ports = settings["more_ports"]
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=settings["port"],
        grpc_port=ports[0],
        metrics_port=ports[1],
        log_verbose=0,
    )
    tensor = {"dtype": np.uint16, "shape": (-1, -1)}
    with Triton(config=config) as triton:
        triton.bind(
            model_name="peer",
            infer_func=infer,
            inputs=[Tensor(name="frame", **tensor)],
            outputs=[Tensor(name="denoised", **tensor)],
            config=ModelConfig(batching=False),
        )
        triton.serve()


def connect(settings):
    """What denoises one frame by a connection of its own."""
    return asker(f"127.0.0.1:{settings['port']}", "peer")


def asker(address, model):
    """What asks for one model by ``tritonclient.http``, with binary data both ways."""
    import tritonclient.http as triton

    client = triton.InferenceServerClient(address, network_timeout=120, connection_timeout=120)
    wanted = [triton.InferRequestedOutput("denoised", binary_data=True)]

    def denoise(frame):
        tensor = triton.InferInput("frame", list(frame.shape), "UINT16")
        tensor.set_data_from_numpy(frame, binary_data=True)
        return client.infer(model, [tensor], outputs=wanted).as_numpy("denoised")

    return denoise
