"""The acquisition plan and the Micro-Manager core of ``dimstream micromanager``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dimstream_client.commands.exit_codes import UNREADABLE, CommandRefused


def plan_of(arguments: argparse.Namespace) -> Any:
    """Return the sequence to acquire.

    Raises
    ------
    CommandRefused, OSError
    """
    import useq
    import yaml

    if arguments.mda is None:
        return useq.MDASequence(time_plan={"interval": arguments.interval_s, "loops": arguments.frames})
    try:
        given = yaml.safe_load(arguments.mda.read_text(encoding="utf-8"))  # JSON is YAML, too
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandRefused(f"{arguments.mda}: expected YAML or JSON: {error}", UNREADABLE) from error
    known = useq.MDASequence.model_fields
    if not isinstance(given, dict) or not given.keys() <= known.keys():
        wrong = (
            ""
            if not isinstance(given, dict)
            else f", not {', '.join(sorted(map(str, given.keys() - known)))}"
        )
        raise CommandRefused(f"{arguments.mda}: expected only {', '.join(sorted(known))}{wrong}")
    try:
        return useq.MDASequence.model_validate(given)
    except ValueError as error:
        raise CommandRefused(f"{arguments.mda} is not a sequence of useq: {error}") from error


@contextmanager
def open_core(arguments: argparse.Namespace) -> Iterator[Any]:
    """Return the core with the microscope, or with a camera that plays a movie.

    Raises
    ------
    CommandRefused, DimstreamError, OSError
    """
    core = _microscope(arguments) if arguments.config.suffix.lower() == ".cfg" else _replay(arguments)
    try:
        if arguments.exposure_ms is not None:
            core.setExposure(arguments.exposure_ms)
        yield core
    finally:
        core.unloadAllDevices()
        core.__del__()  # removes its callback, which would abort the program if called while Python ends


def _microscope(arguments: argparse.Namespace) -> Any:
    from pymmcore_plus import CMMCorePlus

    core = CMMCorePlus()
    if arguments.adapters is not None:
        core.setDeviceAdapterSearchPaths([str(arguments.adapters)])
    if not arguments.config.is_file():
        raise CommandRefused(f"there is no file {arguments.config}", UNREADABLE)
    try:
        core.loadSystemConfiguration(arguments.config)
    except (RuntimeError, OSError) as error:
        core.unloadAllDevices()
        raise CommandRefused(f"{arguments.config} cannot be loaded: {error}", UNREADABLE) from error
    if not core.getCameraDevice():
        raise CommandRefused(f"{arguments.config} has no camera; give it one as Core, Camera")
    return core


def _replay(arguments: argparse.Namespace) -> Any:
    from dimstream_client.files import open_images
    from dimstream_client.micromanager import replay_core

    with open_images(arguments.config) as stack:
        movie = stack.asarray()
    return replay_core(movie.reshape(-1, *movie.shape[-2:]), exposure_ms=arguments.exposure_ms or 10.0)
