"""`dimstream-analyse volume`: surfaces of bodies whose volume is known, read again by trimesh."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import trimesh
from PIL import Image

from dimstream_client.cli import main as view
from dimstream_models.analysis.cli import main
from dimstream_models.analysis.errors import InvalidImage
from dimstream_models.analysis.volumes.surfaces import surface_of

PIXEL_UM, Z_STEP_UM = 0.04, 0.1
TIMES, DEPTH, SIDE = 11, 16, 64
RADIUS_UM = 0.6
MIDDLE_UM = np.array([8 * Z_STEP_UM, 30 * PIXEL_UM, 34 * PIXEL_UM])  # z, y, x


def ball(radius_um: float = RADIUS_UM, *, blur_um: float = 0.12) -> np.ndarray:
    """A ball (Z, H, W) whose light falls to half at its surface."""
    at = np.stack(np.meshgrid(np.arange(DEPTH), np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=-1)
    distance = np.linalg.norm(at * [Z_STEP_UM, PIXEL_UM, PIXEL_UM] - MIDDLE_UM, axis=-1)
    return 1000 / (1 + np.exp((distance - radius_um) / (blur_um / 4)))


def volume_of_ball(radius_um: float = RADIUS_UM) -> float:
    return 4 / 3 * np.pi * radius_um**3


def radius_um(t: int) -> float:
    return 0.4 + 0.02 * t


def record(t: int, z: int) -> dict[str, object]:
    """What `dimstream stream` writes of a plane: nothing but noise at both ends, at plane 5 and in time 1."""
    noise = t == 1 or z in (0, 5, DEPTH - 1)
    quality = {"structure_score": 1.0 if noise else 50.0, "unsupported_fraction": 0.0, "ssim_z": 0.9}
    index = {"t": t, "c": 0, "z": z, "p": 0}
    return {"index": index, "status": "done", "flag": "ok", "reason": None, "quality": quality}


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """A ball that grows, and what `dimstream view` says of its planes."""
    path = tmp_path / "cell.ome.tif"
    stacks = np.array([ball(radius_um(t)) for t in range(TIMES)]).round().astype(np.uint16)
    metadata = {"axes": "TZYX", "PhysicalSizeX": PIXEL_UM, "PhysicalSizeY": PIXEL_UM}
    metadata |= {"PhysicalSizeZ": Z_STEP_UM, "TimeIncrement": 10.2, "TimeIncrementUnit": "s"}
    tifffile.imwrite(path, stacks, ome=True, metadata=metadata)
    records = [record(t, z) for t in range(TIMES) for z in range(DEPTH)]
    flags = "".join(json.dumps(line) + "\n" for line in records)
    path.with_name("cell.flags.jsonl").write_text(flags)
    words = ["--ssim", "0.3", "--structure-score", "5", "--split", "0.4", "--out-dir", str(tmp_path)]
    assert view(["view", str(path), *words]) == 0
    return path


@pytest.mark.slow
def test_another_program_reads_surfaces_of_the_right_size(stack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--times", "0", "10", "--threshold", "127.5", "--resampling", "1"]
    assert main(["volume", str(stack), "--out", str(out), *words]) == 0
    said = json.loads((out / "volumes.json").read_text())
    kept = said["kept"]
    assert (kept["first"], kept["last"], kept["untrusted"], kept["not_trusted"]) == (1, 14, [5], [1])
    for one in said["surfaces"]:
        radius = radius_um(one["time"])
        for ending in ("ply", "stl"):
            mesh = trimesh.load(out / f"{one['name']}.{ending}")
            assert mesh.is_watertight
            assert mesh.is_winding_consistent
            assert mesh.volume == pytest.approx(volume_of_ball(radius), rel=0.05)
            assert mesh.volume == pytest.approx(one["volume_um3"], rel=1e-3)
            assert mesh.area == pytest.approx(one["area_um2"], rel=1e-3)
            assert mesh.area == pytest.approx(4 * np.pi * radius**2, rel=0.08)
            assert np.allclose(mesh.center_mass, MIDDLE_UM[::-1], atol=0.02)
        assert len(mesh.faces) == one["triangles"]


@pytest.mark.slow
def test_pictures_show_slices_and_the_surface(stack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["volume", str(stack), "--out", str(out), "--planes", "3", "10", "--times", "10"]) == 0
    for name in ("orthogonal.png", "surface-t0010.png"):
        with Image.open(out / name) as image:
            assert np.asarray(image.convert("L")).std() > 20, name
    said = json.loads((out / "volumes.json").read_text())
    assert said["slices"] == {"plane": 7, "row": 32, "column": 32}
    span = said["white"] - said["black"]
    assert said["threshold_in_the_files_unit"] == pytest.approx(said["black"] + span * 50 / 255)
    mesh = trimesh.load(out / "surface-t0010.ply")
    assert mesh.is_watertight, "closed where planes were cut"
    assert np.allclose(mesh.bounds[:, 2], [2.5 * Z_STEP_UM, 10.5 * Z_STEP_UM], atol=1e-4)


@pytest.mark.parametrize(("resampling", "tolerance"), [(1, 0.02), (2, 0.05)])
def test_a_ball_has_its_volume(resampling: int, tolerance: float) -> None:
    spacing = (Z_STEP_UM, PIXEL_UM, PIXEL_UM)
    surface = surface_of(ball(), (0.0, 1000.0), spacing, threshold=127.5, resampling=resampling)
    assert surface.volume_um3() == pytest.approx(volume_of_ball(), rel=tolerance)


def test_voxels_at_the_threshold_leave_no_holes() -> None:
    steps = np.round(ball(blur_um=1.5) / 100) * 10  # many voxels are 50 exactly
    surface = surface_of(steps, (0.0, 255.0), (Z_STEP_UM, PIXEL_UM, PIXEL_UM), threshold=50, resampling=1)
    mesh = trimesh.Trimesh(surface.vertices, surface.faces)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(surface.volume_um3(), rel=1e-6)


def test_a_hollow_body_has_its_hollow_taken_off() -> None:
    shell = ball(0.7) - ball(0.4)
    surface = surface_of(shell, (0.0, 1000.0), (Z_STEP_UM, PIXEL_UM, PIXEL_UM), threshold=127.5, resampling=1)
    assert surface.volume_um3() == pytest.approx(volume_of_ball(0.7) - volume_of_ball(0.4), rel=0.02)


@pytest.mark.slow
def test_what_gives_no_surface_is_refused(
    stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str | Path) -> str:
        assert main(["volume", *map(str, words), "--out", str(tmp_path / "out")]) == 2
        return capsys.readouterr().err

    assert "from 0 to 15, got 3 to 16" in said(stack, "--planes", "3", "16")
    assert "got 1, 17: choose others" in said(stack, "--times", "1", "2", "17")
    assert "a threshold between 0 and 255" in said(stack, "--threshold", "255")
    assert "got plane 15" in said(stack, "--plane", "15")
    assert "a channel from 0 to 0, got 1" in said(stack, "--planes", "3", "9", "--channel", "1")
    assert "no plane can be trusted" in said(stack, "--channel", "1")
    stack.with_name("cell.volume.json").unlink()
    assert "write it with `dimstream view`" in said(stack)
    flat = tmp_path / "flat.tif"
    tifffile.imwrite(flat, np.zeros((3, 8, 8), np.uint16), photometric="minisblack", metadata={"axes": "TYX"})
    assert "several planes along Z" in said(flat, "--planes", "0", "1")
    with pytest.raises(InvalidImage, match="at most 0"):
        surface_of(np.zeros((4, 8, 8)), (0.0, 1.0), (1.0, 1.0, 1.0))
