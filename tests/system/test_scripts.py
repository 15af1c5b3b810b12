"""The examples of `docs/scripts.md`, as they stand there, in the programs that they are for."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tifffile
from doc_examples import example
from numpy.typing import NDArray

from dimstream_server.server_process import RunningServer

PAGE = "scripts.md"
IJ, GROOVY = Path("/usr/share/java/ij.jar"), Path("/usr/share/java/groovy-all.jar")
JAVA = ["java", "-Djava.awt.headless=true"]
pytestmark = pytest.mark.slow


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None and not Path(name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(programs)} (.ci/run fetches them)")


class Place:
    """A folder with the movie, and what the server makes of it."""

    def __init__(self, folder: Path, server: RunningServer, movie: NDArray[np.uint16]) -> None:
        self.folder, self.server, self.movie = folder, server, movie
        self.sent = folder / "movie.tif"
        tifffile.imwrite(self.sent, movie, imagej=True, metadata={"axes": "TYX"})
        self.url = f"{server.http}/v1/models/er-sted-light/denoise"
        answers = [
            requests.post(self.url, self.sent.read_bytes(), headers={"Accept": kind}, timeout=120)
            for kind in ("application/x-npy", "application/json")
        ]
        self.denoised = np.load(io.BytesIO(answers[0].content))
        self.flags = [frame["flag"] for frame in answers[1].json()["frames"]]

    def code(self, language: str, containing: str) -> str:
        return example(PAGE, language, containing).replace("http://127.0.0.1:8570", self.server.http)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *command: str | Path, **options: Any) -> str:
        ended = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            **options,
        )
        assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        return ended.stdout

    def assert_denoised(self, path: Path) -> None:
        np.testing.assert_array_equal(tifffile.imread(path), self.denoised)


@pytest.fixture
def place(tmp_path: Path, server: RunningServer, sample: NDArray[np.uint16]) -> Place:
    return Place(tmp_path, server, sample[:3, :96, :80])


@needs("curl")
def test_curl(place: Place) -> None:
    place.run("bash", "-e", "-c", place.code("sh", "--data-binary"))
    place.assert_denoised(place.folder / "denoised.tif")
    report = json.loads((place.folder / "flags.json").read_text())
    assert [frame["flag"] for frame in report["frames"]] == place.flags


def test_python(place: Place) -> None:
    printed = place.run(sys.executable, "-c", place.code("python", "application/x-npy"))
    assert printed.startswith("(3, 64, 64) ['suspect'")


@needs("java", str(IJ), "curl", "xvfb-run")
def test_the_macro_of_fiji(place: Place) -> None:
    """ImageJ itself needs a screen for macros that open images."""
    out = place.folder / "out.tif"
    text = place.code("ijm", "exec(")
    macro = place.write("m.ijm", f'open("{place.sent}");\n{text}\nsaveAs("Tiff", "{out}");\n')
    place.run("xvfb-run", "-a", "java", f"-Djava.io.tmpdir={place.folder}", "-jar", IJ, "-batch", macro)
    place.assert_denoised(out)
    report = json.loads((place.folder / "dimstream-denoised.tif.json").read_text())
    assert [frame["flag"] for frame in report["frames"]] == place.flags


@needs("java", str(IJ), str(GROOVY))
def test_the_groovy_script_of_fiji(place: Place) -> None:
    """`IJ.getImage` and `show` work without a screen in batch mode, which Fiji sets up by itself."""
    out, table = place.folder / "out.tif", place.folder / "flags.csv"
    place.write("Denoise.groovy", place.code("groovy", "JsonSlurper"))
    harness = f"""
        ij.macro.Interpreter.batchMode = true
        ij.WindowManager.setTempCurrentImage(ij.IJ.openImage("{place.sent}"))
        def made = [:]
        ij.ImagePlus.metaClass.show = {{ -> made.image = delegate }}
        ij.measure.ResultsTable.metaClass.show = {{ String title -> made.table = delegate }}
        new GroovyShell().evaluate(new File("{place.folder / "Denoise.groovy"}"))
        new ij.io.FileSaver(made.image).saveAsTiffStack("{out}")
        made.table.saveAs("{table}")
    """
    main = place.write("Harness.groovy", harness)
    place.run(*JAVA, "-cp", f"{IJ}:{GROOVY}", "groovy.ui.GroovyMain", main)
    place.assert_denoised(out)
    assert [flag for flag in place.flags if flag in table.read_text()] == place.flags


@needs("octave-cli", "curl")
def test_matlab_in_octave(place: Place) -> None:
    place.write("dimstream_denoise.m", place.code("matlab", "function [denoised, flags]"))
    call = place.code("matlab", "[denoised, flags] = dimstream_denoise(counts, 'http")
    np.ascontiguousarray(place.movie.transpose(0, 2, 1)).tofile(place.folder / "in.raw")
    frames, height, width = place.movie.shape
    program = f"""
        file = fopen('in.raw'); counts = reshape(fread(file, Inf, '*uint16'), [{height} {width} {frames}]);
        {call}
        file = fopen('out.raw', 'w'); fwrite(file, denoised, 'uint16'); fclose(file);
        disp(strjoin(flags, ' '));
    """
    printed = place.run("octave-cli", "--norc", "--eval", program)
    got = np.fromfile(place.folder / "out.raw", "uint16").reshape(frames, width, height).transpose(0, 2, 1)
    np.testing.assert_array_equal(got, place.denoised)
    assert printed.split() == place.flags


@needs("octave-cli", "curl")
def test_matlab_says_what_the_server_refuses(place: Place) -> None:
    place.write("dimstream_denoise.m", place.code("matlab", "function [denoised, flags]"))
    program = f"""
        try, dimstream_denoise(uint16(ones(8, 8, 2)), '{place.url}x'); catch e, disp(e.message); end
    """
    assert "dimstream answered 404" in place.run("octave-cli", "--norc", "--eval", program)


@needs("java")
def test_java(place: Place) -> None:
    program = place.write("Denoise.java", place.code("java", "HttpClient"))
    printed = place.run("java", program, place.url, place.sent, "denoised.tif")
    place.assert_denoised(place.folder / "denoised.tif")
    assert f"unjudged={place.flags.count('unjudged')}" in printed


@needs("cc", "/usr/include/x86_64-linux-gnu/curl/curl.h")
def test_c(place: Place) -> None:
    program = place.write("denoise.c", place.code("c", "curl_easy_perform"))
    place.run("cc", "-Wall", "-Werror", program, "-lcurl", "-o", "denoise")
    place.run(place.folder / "denoise", place.url, place.sent, "denoised.tif")
    place.assert_denoised(place.folder / "denoised.tif")


@needs("curl")
def test_curl_and_python_of_the_page_on_http(place: Place) -> None:
    text = example("http-api.md", "", "-F file=@movie.tif").replace(
        "http://127.0.0.1:8570", place.server.http
    )
    for line in text.strip().splitlines():
        if "view=" not in line:
            place.run("bash", "-c", line)
    place.assert_denoised(place.folder / "denoised.tif")
    port = place.server.http.rpartition(":")[2]
    script = example("http-api.md", "python", "http.client").replace("8570", port)
    values = "import numpy\ncounts = numpy.load('counts.npy')\n"
    np.save(place.folder / "counts.npy", place.movie)
    printed = place.run(sys.executable, "-c", values + script)
    assert printed.strip() in {"unjudged", "suspect"}
