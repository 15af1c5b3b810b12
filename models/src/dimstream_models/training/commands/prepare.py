"""`dimstream-train prepare`: registers and stores image pairs, and reports on their quality."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands
from dimstream_models.training.errors import InvalidPairs


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "prepare", help="register image pairs, store them with their roles, and report on their quality"
    )
    parser.add_argument(
        "source",
        type=Path,
        nargs="+",
        help=(
            "a measurement day's folder with low/ and high/ (or low.tif and high.tif), a CSV list with the "
            "columns low, high and, optionally, day, field, role; without high: low dose alone, to split "
            "its photons"
        ),
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--replace", action="store_true", help="replace the prepared folder at --out")
    _add_registration(parser.add_argument_group("registration"))
    _add_counts(parser.add_argument_group("counts and pixels"))
    _add_roles(parser.add_argument_group("roles"))
    parser.set_defaults(run_command=_run)


def _add_registration(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-shift", type=float, default=10.0, metavar="PX", help="pairs further apart are refused (10)"
    )
    group.add_argument(
        "--leave-out-refused",
        action="store_true",
        help="leave out refused pairs, and list them in the report",
    )
    group.add_argument(
        "--no-registration", action="store_true", help="the images of each pair are already registered"
    )


def _add_counts(group: argparse._ArgumentGroup) -> None:
    for dose in ("low", "high"):
        group.add_argument(
            f"--subtract-{dose}",
            type=int,
            default=0,
            metavar="COUNTS",
            help=f"the camera's offset at {dose} dose, counts per pixel (0)",
        )
    group.add_argument(
        "--multiply-high",
        type=float,
        metavar="FACTOR",
        help=(
            "multiply the stored high dose by this, so that whole numbers keep the fractions of averages "
            "(default: 1 for counts, a power of ten for averages)"
        ),
    )
    group.add_argument(
        "--pixel-size-nm", type=float, metavar="NM", help="pixel size, if files state none or a wrong one"
    )


def _add_roles(group: argparse._ArgumentGroup) -> None:
    for role in ("validation", "test"):
        group.add_argument(
            f"--{role}-day",
            action="append",
            default=[],
            metavar="DAY",
            help=f"a measurement day for {role}; may be repeated",
        )
        group.add_argument(
            f"--{role}-share",
            type=float,
            metavar="SHARE",
            help=f"share of the other days' fields of view for {role} (0.1; 0 if a day is given for it)",
        )
    group.add_argument("--seed", type=int, default=0, help="seed of the random choice of fields of view (0)")
    group.add_argument(
        "--fields-of-view",
        choices=("measured", "files", "planes"),
        default="measured",
        help=(
            "which images show the same field of view and so have the same role: those that look alike "
            "(default), those of one file, or none"
        ),
    )


def _run(arguments: argparse.Namespace) -> None:
    from pydantic import ValidationError

    from dimstream_models.training.pairs.prepare_folder import prepare
    from dimstream_models.training.pairs.prepared import REPORT, PrepareSettings
    from dimstream_models.training.settings.complaints import complaints

    try:
        settings = PrepareSettings(
            registered=not arguments.no_registration,
            max_shift_px=arguments.max_shift,
            leave_out_refused=arguments.leave_out_refused,
            subtract_low=arguments.subtract_low,
            subtract_high=arguments.subtract_high,
            multiply_high=arguments.multiply_high,
            pixel_size_nm=arguments.pixel_size_nm,
            fields_of_view=arguments.fields_of_view,
            validation_days=tuple(arguments.validation_day),
            test_days=tuple(arguments.test_day),
            validation_share=arguments.validation_share,
            test_share=arguments.test_share,
            seed=arguments.seed,
        )
    except ValidationError as error:
        raise InvalidPairs(f"expected valid options, got: {complaints(error)}") from error
    prepared = prepare(arguments.source, arguments.out, settings, replace=arguments.replace)
    for pair in prepared.index.left_out:
        print(f"left out: {pair.name}: {pair.reason}")
    for day in prepared.index.matched_by_order:
        print(f"matched by order, because names differ: {day}")
    for role in ("training", "validation", "test"):
        fields = prepared.of(role)
        views = len({field.field_of_view for field in fields})
        print(f"{role}: images {len(fields)}, fields of view {views}")
    for note in prepared.index.notes:
        print(f"note: {note}.")
    print(f"roles: {prepared.index.roles}; report: {arguments.out / REPORT}")
