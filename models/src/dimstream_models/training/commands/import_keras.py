"""`dimstream-train import-keras`: makes a bundle from weights of the published Keras code."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands, print_warnings


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "import-keras", help="make a bundle from weights of the published Keras code"
    )
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.h5", help="Keras 2 or Keras 3 weight file")
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        help="published configuration (.yml, .json): section model, or flat",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="folder, replaced")
    parser.add_argument(
        "--activation",
        choices=("leaky_relu", "leakyrelu", "tanh", "identity", "model-code"),
        help=(
            "used in place of the configuration's activation, with the same names: leaky_relu means none; "
            "model-code is the code of the original repository, which has no such option (LeakyReLU)"
        ),
    )
    parser.add_argument(
        "--pairs",
        type=Path,
        help=(
            "training pairs for scale and offset: a prepared folder, low/ and high/, or a CSV list "
            "(default: the bundle has neither)"
        ),
    )
    parser.add_argument(
        "--rescaling",
        choices=("least_squares", "clipped_quantiles"),
        default="least_squares",
        help="fit through all pixels (default), or through pixels clipped to their quantiles (the paper)",
    )
    parser.add_argument("--id", help="name in messages and URLs (default: after BUNDLE)")
    parser.add_argument(
        "--author", action="append", metavar="NAME", help="author of the weights; may be repeated"
    )
    parser.add_argument("--license", metavar="SPDX", help="licence of the weights, such as CC-BY-4.0")
    parser.add_argument("--pixel-size-nm", type=float, metavar="NM", help="pixel size of the training images")
    parser.add_argument("--device", default="cpu", help="torch device to predict pairs on (default: cpu)")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.keras_import import read_keras_config, read_keras_weights
    from dimstream_models.training.keras_import.bundling import KerasBundle, write_keras_bundle

    config = read_keras_config(arguments.config)
    read = read_keras_weights(arguments.weights, config, activation=arguments.activation)
    for remark in read.remarks:
        print(f"note: {remark}")
    stated = KerasBundle(
        weights=arguments.weights,
        config=arguments.config,
        command=f"dimstream-train import-keras {arguments.weights.name} --config {arguments.config.name}",
        id=arguments.id,
        authors=tuple(arguments.author or KerasBundle.authors),
        licence=arguments.license,
        pixel_size_nm=arguments.pixel_size_nm,
        pairs=arguments.pairs,
        rescaling=arguments.rescaling,
        device=arguments.device,
    )
    bundle = write_keras_bundle(read, arguments.out, stated)
    if arguments.pairs is None:
        print(
            "note: no scale and offset: predictions are delivered on the network's own scale, about 0 to 1. "
            "Request float32 (dimstream denoise --out-dtype float32), or fit both to training pairs "
            "(--pairs here, or dimstream-train calibrate --pairs)"
        )
    else:
        print(f"denoised counts: {bundle.gain or 1:g} times the prediction {bundle.offset or 0:+g}")
    print(f"{bundle.id} {bundle.sha256[:12]} in {arguments.out}")
    print_warnings(arguments.out)
