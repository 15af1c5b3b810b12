"""Size of the network, and initialisation of its weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dimstream_models.bundle.schema import Confined

Activation = Literal["identity", "leaky_relu", "tanh"]
Initializer = Literal["glorot_uniform", "lecun_uniform", "orthogonal"]


class NetworkSettings(Confined):
    """Size of the UNet-RCAN and its initialisation."""

    filters: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (8, 16, 32), min_length=1, description="widths of the U-Net's levels (the paper: 64, 128, 256)"
    )
    filters_cab: int = Field(4, ge=1, description="channels after the squeeze of channel attention")
    num_rg: int = Field(2, ge=1, description="residual groups (published: 3)")
    num_cab: int = Field(4, ge=1, description="channel attention blocks in each group (published: 8)")
    kernel: Literal[1, 3, 5, 7] = Field(3, description="side of the convolution kernels, px (the paper: 7)")
    activation: Activation = Field(
        "leaky_relu",
        description="activation between the two convolutions of a block (published `leaky_relu`: identity)",
    )
    initializer: Initializer = Field(
        "glorot_uniform", description="initialisation of the kernels; biases begin at 0"
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of features dropped in training (published: 0.2)"
    )
