"""Images without a Docker engine: built by buildah on a base that mmdebstrap makes, and run in a chroot."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TOOLS = ("buildah", "mmdebstrap")
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 8 << 30
BUILD_S = 900


def skip_without_tools() -> None:
    """Skip the test, with the reason, where no image can be built."""
    if missing := [name for name in TOOLS if shutil.which(name) is None]:
        pytest.skip(f"{' and '.join(missing)} not found: .ci/run installs them from Debian's packages")
    if os.geteuid() != 0:
        pytest.skip("only root can build images here")
    if "VERSION_CODENAME" not in platform.freedesktop_os_release():
        pytest.skip("this machine runs neither Debian nor Ubuntu, so mmdebstrap can make no base")


def folder_for_images(otherwise: Path) -> Path:
    """Return where a store should lie: in memory where that is large, because dpkg waits for disks."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    return MEMORY if in_memory else otherwise


def pip_options(folder: Path) -> list[str]:
    """Return options of `buildah build` by which pip finds packages in an image as it does on this machine.

    The settings of this machine's pip lie in `folder`, and are mounted with the folders that they name.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = dict(re.findall(r"^(?:global|user|:env:)\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
    kept = {
        name: settings[name] for name in ("index-url", "extra-index-url", "find-links") if name in settings
    }
    options = []
    for place in " ".join(kept.values()).split():
        path = Path(place.removeprefix("file://"))
        if path.is_dir():
            mounted = (
                path.parent if place.startswith("file:") else path
            )  # an index points to files next to it
            options += ["--volume", f"{mounted}:{mounted}:ro"]
    if certificates := settings.get("cert"):
        shutil.copy(certificates, folder / "cert.pem")
        options += ["--volume", f"{folder / 'cert.pem'}:/run/cert.pem:ro"]
        kept["cert"] = "/run/cert.pem"
    file = folder / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in kept.items()))
    return [*options, "--volume", f"{file}:/etc/pip.conf:ro"]


class Buildah:
    """buildah with a store of its own in `folder`, where all that it makes lies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tmp").mkdir()
        self._environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
        self._pip_options = pip_options(folder)

    def command(self, *words: str | Path) -> list[str]:
        """Return the command line of buildah."""
        store = ["--root", self.folder / "store", "--runroot", self.folder / "run"]
        return [str(word) for word in ("buildah", *store, "--storage-driver", "vfs", *words)]

    def done(self, *words: str | Path) -> str:
        """Return what a command that must succeed prints."""
        return self._done(self.command(*words))

    def _done(self, command: Sequence[str]) -> str:
        ended = subprocess.run(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_S,
            check=False,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout[-3000:]}\n{ended.stderr[-5000:]}"
        return ended.stdout.strip()

    def make_base(self, tag: str) -> None:
        """Make a bare system of this machine's release, which stands for the image `tag`."""
        release = platform.freedesktop_os_release()["VERSION_CODENAME"]
        archive = self.folder / "base.tar"
        self._done(["mmdebstrap", "--quiet", "--variant=minbase", release, str(archive)])
        container = self.done("from", "scratch")
        self.done("add", "--quiet", container, archive, "/")
        self.done("commit", "--quiet", "--rm", container, tag)
        archive.unlink()

    def build(self, dockerfile: Path, context: Path, *options: str) -> str:
        """Build an image as its Dockerfile stands there; return its id."""
        how = ["--isolation", "chroot", "--format", "docker", "--pull-never", "--quiet"]
        file = ["--file", dockerfile, context]
        return self.done("build", *how, *self._pip_options, *options, *file).splitlines()[-1]

    def config(self, image: str) -> dict[str, Any]:
        """Return what an image says about itself: Entrypoint, Cmd, User, Healthcheck ..."""
        config: dict[str, Any] = json.loads(self.done("inspect", "--type", "image", image))["Docker"][
            "config"
        ]
        return config

    @contextmanager
    def container(self, image: str) -> Iterator[str]:
        """A container of an image, removed at the end."""
        name = self.done("from", "--pull-never", image)
        try:
            yield name
        finally:
            self.done("rm", name)

    def run(self, container: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, with the user and the variables of its image."""
        command = self.command("run", "--isolation", "chroot", container, "--", *words)
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=BUILD_S, check=False
        )

    def start(self, container: str, mounts: dict[str, Path], *words: str | Path) -> subprocess.Popen[str]:
        """Start a command in a container, in a process group of its own; `mounts` are by the path inside."""
        volumes = [word for inside, path in mounts.items() for word in ("--volume", f"{path}:{inside}")]
        return subprocess.Popen(
            self.command("run", "--isolation", "chroot", *volumes, container, "--", *words),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
