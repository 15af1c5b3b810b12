"""FastAPI under uvicorn with a raw body, and the network on a thread of its pool."""

import numpy as np
from raw_http import poster


def serve(settings):
    """One process; one frame at a time in the network."""
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from fastapi.concurrency import run_in_threadpool
    from network import Network

    app, network = FastAPI(), Network(settings)

    @app.post("/denoise")
    async def denoise(request: Request, height: int, width: int) -> Response:
        frame = np.frombuffer(await request.body(), np.uint16).reshape(height, width)
        denoised = await run_in_threadpool(network, frame)
        return Response(denoised.tobytes(), media_type="application/octet-stream")

    uvicorn.run(app, host="127.0.0.1", port=settings["port"], log_level="warning", timeout_keep_alive=600)


def connect(settings):
    """What denoises one frame by a connection of its own."""
    height, width = settings["shape"]
    return poster(settings["port"], f"/denoise?height={height}&width={width}")
