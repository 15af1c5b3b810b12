# The server in Ubuntu 24.04 with its Python 3.12: no compiler, no pip, no torch. From the repository's root:
#
#   docker build --file docker/server.Dockerfile --tag dimstream-server:gpu .
#   docker build --file docker/server.Dockerfile --tag dimstream-server:cpu --build-arg DEVICE=cpu .
#
# tests/docker/test_images.py builds it with buildah, on a bare Debian, and streams through it.
ARG DEVICE=gpu

FROM ubuntu:24.04 AS cpu
ENV EXTRAS=cpu,openvino

# onnxruntime-gpu 1.31 is built for CUDA 13 and cuDNN 9: its metadata ask for nvidia-cuda-runtime~=13.0 and
# nvidia-cudnn-cu13~=9.0. Any CUDA 13 will do; the driver of the machine must be 580 or later.
FROM nvidia/cuda:13.1.1-cudnn-runtime-ubuntu24.04 AS gpu
ENV EXTRAS=gpu-system

FROM ${DEVICE} AS base
# The base image pins the distribution; a pinned package would stop the build once a security fix replaces it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY .ci/constraints.txt ./
COPY client client
COPY models models
COPY server server
RUN python3 -m venv /opt/dimstream
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/dimstream/bin/pip wheel --no-deps --wheel-dir /wheels ./client ./models ./server
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/dimstream/bin/pip install --constraint constraints.txt \
        /wheels/dimstream_client-*.whl /wheels/dimstream_models-*.whl \
        "$(echo /wheels/dimstream_server-*.whl)[${EXTRAS}]"
RUN /opt/dimstream/bin/python -c "import dimstream_server.serving" \
    && /opt/dimstream/bin/pip uninstall --yes pip

FROM base
LABEL org.opencontainers.image.title="dimstream-server" \
      org.opencontainers.image.description="Denoised microscopy frames, each with a flag on whether it can be believed" \
      org.opencontainers.image.licenses="BSD-3-Clause"
RUN groupadd --gid 10001 dimstream \
    && useradd --uid 10001 --gid 10001 --home-dir /state --no-create-home --shell /usr/sbin/nologin dimstream \
    && install --directory --owner 10001 --group 10001 --mode 0750 /state /recordings \
    && install --directory /bundles /etc/dimstream/clients /etc/dimstream/operators
COPY --from=build /opt/dimstream /opt/dimstream
COPY docker/health.py /opt/dimstream/health.py
COPY docker/server.toml /etc/dimstream/server.toml
ENV PATH=/opt/dimstream/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CUDA_CACHE_PATH=/tmp/cuda
USER 10001:10001
WORKDIR /state
EXPOSE 5570 8570
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 \
    CMD ["/opt/dimstream/bin/python", "/opt/dimstream/health.py", "http://127.0.0.1:8570/readyz"]
# Process 1 without an init: the server handles SIGTERM itself and has no children to wait for.
ENTRYPOINT ["/opt/dimstream/bin/dimstream-server"]
CMD ["serve", "--config", "/etc/dimstream/server.toml"]
