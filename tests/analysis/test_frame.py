"""Figures of one frame, on drawings and against other ways to compute them."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import disk
from skimage.metrics import structural_similarity

from dimstream_models.analysis.frame import FrameSettings, adjacent_ssim, analyse_frame
from dimstream_models.analysis.graph import tubule_graph
from dimstream_models.analysis.graph_figures import ernet_figures, graph_figures, network_figures
from dimstream_models.analysis.instances import CORNERS, gaps_of, pieces_of
from dimstream_models.analysis.labels import Structure
from dimstream_models.er_figures import FIGURES, scaled, table


def lattice(side: int = 151, step: int = 30, width: int = 5) -> np.ndarray:
    """A lattice of tubules, cut by the border: meshes, four-way junctions, ends at the border."""
    labels = np.zeros((side, side), np.uint8)
    for at in range(step // 2, side, step):
        labels[at - width // 2 : at + width // 2 + 1] = Structure.TUBULE
        labels[:, at - width // 2 : at + width // 2 + 1] = Structure.TUBULE
    return labels


def test_a_lattice_has_the_figures_that_it_was_drawn_with() -> None:
    figures = analyse_frame(lattice()).figures
    assert set(figures) == set(FIGURES) - {"ssim"}
    expected = {
        "nodes": 45,
        "edges": 60,
        "degree_4": 25,
        "ends_at_border": 20,
        "free_ends": 0,
        "junctions": 25,
        "loops": 16,
        "components": 1,
        "largest_nodes": 1,
        "tubes": 1,
        "sheets": 0,
        "gaps": 16,
        "gaps_area": 625,
        "ernet_degree_1": 20,
        "ernet_degree_4": 25,
        "sheet_fraction": 0,
        "tubule_fraction": 1,
    }
    assert {name: figures[name] for name in expected} == expected
    assert figures["foreground"] == pytest.approx(1 - (25 * 30 + 1) ** 2 / 151**2 / 36, abs=0.35)
    assert figures["tubule_length"] == pytest.approx(10 * 151, rel=0.03)
    assert figures["tortuosity"] == pytest.approx(1, abs=0.01)
    assert figures["gaps_perimeter"] == pytest.approx(100, rel=0.07)
    assert figures["junction_density"] == 25 / 151**2


def test_lengths_and_areas_are_in_micrometres_where_the_scale_is_known() -> None:
    figures = analyse_frame(lattice()).figures
    columns, plain = scaled(figures, 0.02), scaled(figures, None)
    assert columns["gaps_area_um2"] == pytest.approx(625 * 0.0004)
    assert columns["tubule_length_um"] == pytest.approx(plain["tubule_length_px"] * 0.02)
    assert columns["junction_density_per_um2"] == pytest.approx(25 / (151 * 0.02) ** 2)
    assert columns["gaps"] == plain["gaps"] == 16


def test_whole_numbers_are_whole() -> None:
    for name, value in analyse_frame(lattice()).figures.items():
        assert isinstance(value, int) is FIGURES[name].counted, name


def test_an_empty_frame_has_counts_of_zero_and_no_means() -> None:
    figures = analyse_frame(np.zeros((64, 64), np.uint8)).figures
    for name, value in figures.items():
        assert value in (0, None), name
        assert value == 0 or not FIGURES[name].counted
    assert figures["foreground"] == 0
    assert figures["tubule_fraction"] is None


def test_a_frame_of_nothing_but_er_is_one_piece() -> None:
    figures = analyse_frame(np.full((64, 64), Structure.SHEET, np.uint8)).figures
    assert (figures["sheets"], figures["gaps"], figures["nodes"], figures["foreground"]) == (1, 0, 0, 1)


def test_background_that_reaches_the_border_is_no_gap() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[10:40, 10:40] = Structure.SHEET
    labels[20:25, 20:25] = 0
    labels[30:40, 30:36] = 0
    assert len(gaps_of(labels)) == 1
    labels[39, 30:36] = Structure.TUBULE
    assert len(gaps_of(labels)) == 2
    labels[39, 33] = 0
    labels[40, 33] = Structure.TUBULE  # touches at corners: closed, for background touches at sides only
    assert len(gaps_of(labels)) == 2


@pytest.mark.parametrize("radius", [6, 12, 25])
def test_area_and_perimeter_of_a_disc(radius: int) -> None:
    mask = np.zeros((80, 80), bool)
    mask[disk((40, 40), radius + 0.5)] = True
    pieces = pieces_of(mask, CORNERS)
    assert pieces.area_px == pytest.approx(np.pi * (radius + 0.5) ** 2, rel=0.05)
    assert pieces.perimeter_px == pytest.approx(2 * np.pi * (radius + 0.5), rel=0.03)
    assert pieces.middle[0] == pytest.approx([40, 40])


@pytest.mark.parametrize("choice", ["sheet", "tubule"])
def test_tubules_on_sheets_are_taken_for_what_was_chosen(choice: str) -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:20] = Structure.SHEET_TUBULE
    found = analyse_frame(labels, FrameSettings(sheet_tubules=choice))  # type: ignore[arg-type]
    assert found.figures[f"{choice}_fraction"] == 1


def test_assortativity_is_the_correlation_of_degrees_and_clustering_that_of_its_definition() -> None:
    graph = nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (5, 6)])
    pairs = [(graph.degree(a), graph.degree(b)) for u, v in graph.edges for a, b in ((u, v), (v, u))]
    found = network_figures(graph)
    assert found["assortativity"] == pytest.approx(np.corrcoef(np.array(pairs).T)[0, 1])
    assert found["clustering"] == pytest.approx((1 + 1 + 1 / 3) / 7)
    assert (found["components"], found["largest_nodes"], found["largest_edges"]) == (2, 5 / 7, 5 / 6)


def test_a_graph_of_equal_degrees_has_no_assortativity() -> None:
    assert network_figures(nx.cycle_graph(5))["assortativity"] is None
    assert network_figures(nx.Graph())["clustering"] is None


def test_degrees_above_six_are_counted() -> None:
    assert ernet_figures(nx.star_graph(8))["ernet_degree_above_6"] == 1


def test_loops_have_no_part_in_tortuosity() -> None:
    ring = (np.abs(np.hypot(*(np.indices((80, 80)) - 40)) - 25) < 3).astype(np.uint8)
    figures = graph_figures(tubule_graph(ring), ring.shape)
    assert (figures["tortuosity"], figures["loops"]) == (None, 1)
    arc = ring.copy()
    arc[40:] = 0
    assert graph_figures(tubule_graph(arc), arc.shape)["tortuosity"] == pytest.approx(np.pi / 2, rel=0.06)


def test_adjacent_ssim_is_that_of_scikit_image_and_does_not_depend_on_brightness() -> None:
    rng = np.random.default_rng(2)
    before = ndimage.gaussian_filter(rng.random((70, 60)), 2)
    after = before + 0.02 * rng.random(before.shape)
    expected = structural_similarity(before / before.max(), after / after.max(), data_range=1.0)
    assert adjacent_ssim(before, after) == pytest.approx(expected, abs=1e-5)
    assert adjacent_ssim(40 * before, after) == pytest.approx(expected, abs=1e-5)


def test_the_document_has_every_figure_as_the_code_defines_it() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "analysis.md"
    assert table() in page.read_text(encoding="utf-8"), "put figures.table() into docs/analysis.md"
