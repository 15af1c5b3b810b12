# The training package with torch, for a workstation or a cluster; never beside the microscope. From the root:
#
#   docker build --file docker/training.Dockerfile --tag dimstream-training .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --volume "$PWD:/work" dimstream-training fit recipe.yaml --run run
#
# torch's wheels bring their CUDA, so the base has none; the machine needs its driver and the container toolkit.
FROM ubuntu:24.04 AS base
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
RUN python3 -m venv /opt/dimstream
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/dimstream/bin/pip install --constraint constraints.txt ./client "./models[train,msr,tensorboard]"
RUN /opt/dimstream/bin/dimstream-train --help \
    && /opt/dimstream/bin/pip uninstall --yes pip

FROM base
LABEL org.opencontainers.image.title="dimstream-training" \
      org.opencontainers.image.description="From pairs of noisy and clean images to a model that dimstream serves" \
      org.opencontainers.image.licenses="BSD-3-Clause"
COPY --from=build /opt/dimstream /opt/dimstream
ENV PATH=/opt/dimstream/bin:${PATH} \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["/opt/dimstream/bin/dimstream-train"]
CMD ["--help"]
