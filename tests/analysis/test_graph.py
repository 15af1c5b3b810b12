"""The graph of tubules: networks that were drawn, an independent invariant, and another library."""

import json
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import circle_perimeter, line
from skimage.measure import euler_number

from dimstream_models.analysis.graph import GraphSettings, Kind, ernet_graph, path_length, tubule_graph
from dimstream_models.analysis.labels import Structure
from dimstream_models.analysis.linking import link_places
from dimstream_models.analysis.skeleton import skeleton_of
from dimstream_models.training.simulation.er_labels import er_truth
from dimstream_models.training.simulation.er_scenes import Scene

FIXTURES = Path(__file__).with_name("fixtures")
AS_DRAWN = GraphSettings(least_piece_px=1, least_hole_px=1, spur_radii=0, merge_radii=0, crossing_radii=0)
Line = tuple[int, int, int, int]
SIDE = 121
MIDDLE = 60

# Lines (y0, x0, y1, x1) and circles (y, x, radius); what they make: degrees of nodes, edges, independent
# cycles.
NETWORKS: dict[str, tuple[list[Line], list[tuple[int, int, int]], dict[int, int], int, int]] = {
    "nothing": ([], [], {}, 0, 0),
    "a line": ([(60, 20, 60, 100)], [], {1: 2}, 1, 0),
    "an oblique line": ([(30, 20, 71, 100)], [], {1: 2}, 1, 0),
    "T": ([(60, 20, 60, 100), (60, 60, 100, 60)], [], {1: 3, 3: 1}, 3, 0),
    "Y": ([(60, 60, 20, 60), (60, 60, 95, 25), (60, 60, 95, 95)], [], {1: 3, 3: 1}, 3, 0),
    "cross": ([(60, 20, 60, 100), (20, 60, 100, 60)], [], {1: 4, 4: 1}, 4, 0),
    "oblique cross": ([(25, 25, 95, 95), (25, 95, 95, 25)], [], {1: 4, 4: 1}, 4, 0),
    "six ways": (
        [(60, 15, 60, 105), (21, 37, 99, 83), (21, 83, 99, 37)],
        [],
        {1: 6, 6: 1},
        6,
        0,
    ),
    "seven ways": (
        [
            (60, 60, round(60 - 45 * np.sin(a)), round(60 + 45 * np.cos(a)))
            for a in 2 * np.pi * np.arange(7) / 7
        ],
        [],
        {1: 7, 7: 1},
        7,
        0,
    ),
    "ring": ([], [(60, 60, 30)], {2: 1}, 1, 1),
    "ring with a tail": ([(60, 90, 60, 115)], [(60, 60, 30)], {1: 1, 3: 1}, 2, 1),
    "parallel edges": ([(60, 5, 60, 30), (60, 90, 60, 115)], [(60, 60, 30)], {1: 2, 3: 2}, 4, 1),
    "three parallel edges": ([(60, 30, 60, 90)], [(60, 60, 30)], {3: 2}, 3, 2),
    "eight": (
        [each for tip in (20, 100) for each in ((60, 60, tip, 15), (tip, 15, tip, 105), (tip, 105, 60, 60))],
        [],
        {4: 1},
        2,
        2,
    ),
    "dumbbell": ([(60, 40, 60, 80)], [(60, 25, 15), (60, 95, 15)], {3: 2}, 3, 2),
    "ladder": (
        [(30, 20, 30, 100), (90, 20, 90, 100), *((30, x, 90, x) for x in (20, 60, 100))],
        [],
        {2: 0, 3: 2},
        3,
        2,
    ),
}


def drawn(lines: list[Line], circles: list[tuple[int, int, int]], width: int) -> np.ndarray:
    thin = np.zeros((SIDE, SIDE), bool)
    for each in lines:
        thin[line(*each)] = True
    for each in circles:
        thin[circle_perimeter(*each)] = True
    if width == 1:
        return thin
    return np.asarray(ndimage.distance_transform_edt(~thin) <= (width - 1) / 2) if thin.any() else thin


def degrees(graph: nx.Graph) -> dict[int, int]:
    return dict(Counter(degree for _, degree in graph.degree()))


def loops(graph: nx.Graph) -> int:
    return graph.number_of_edges() - graph.number_of_nodes() + nx.number_connected_components(graph)


@pytest.mark.parametrize("width", [1, 3, 5, 7])
@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_drawn_is_found(name: str, width: int, turns: int) -> None:
    lines, circles, expected, edges, cycles = NETWORKS[name]
    mask = np.rot90(drawn(lines, circles, width), turns)
    graph = tubule_graph(mask.astype(np.uint8), GraphSettings(least_piece_px=1))
    assert degrees(graph) == {degree: n for degree, n in expected.items() if n}
    assert graph.number_of_edges() == edges
    assert loops(graph) == cycles


@pytest.mark.parametrize("seed", range(6))
def test_nodes_less_edges_are_pieces_less_holes(seed: int) -> None:
    """Euler's number, which scikit-image counts without a skeleton."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(200, 180)), 4)
    mask = np.abs(noise) < 0.25 * noise.std()
    holes, _ = ndimage.label(~mask)
    mask |= (np.bincount(holes.ravel()) < 12)[holes]
    for settings in (AS_DRAWN, GraphSettings(least_piece_px=1)):
        graph = tubule_graph(mask.astype(np.uint8), settings)
        assert graph.number_of_nodes() - graph.number_of_edges() == euler_number(mask, connectivity=2)


@pytest.mark.parametrize("width", [3, 5, 7, 9])
@pytest.mark.parametrize("turn", range(0, 90, 15))
@pytest.mark.parametrize("angle", [50, 60, 75, 90])
def test_tubules_that_cross_make_one_junction(width: int, turn: int, angle: int) -> None:
    lines = []
    for direction in np.deg2rad([turn, turn + angle]):
        dy, dx = 50 * np.sin(direction), 50 * np.cos(direction)
        lines.append((round(60 - dy), round(60 - dx), round(60 + dy), round(60 + dx)))
    graph = tubule_graph(drawn(lines, [], width).astype(np.uint8))
    assert degrees(graph) == {1: 4, 4: 1}


@pytest.mark.parametrize("apart", [5, 7, 9, 12])
@pytest.mark.parametrize("turns", [0, 1])
def test_two_junctions_that_follow_each_other_stay_two(apart: int, turns: int) -> None:
    lines = [(60, 60, 60, 60 + apart)]
    for at, way in ((60, -1), (60 + apart, 1)):
        lines += [(60, at, 60 + up * 43, at + way * 25) for up in (-1, 1)]
    graph = tubule_graph(np.rot90(drawn(lines, [], 5), turns).astype(np.uint8))
    assert degrees(graph) == {1: 4, 3: 2}


@pytest.mark.slow
def test_junctions_of_simulated_scenes_are_found_with_their_degrees() -> None:
    """Scenes whose network is known: 24 others than those on which the rule for crossings was chosen."""
    there = found = same_degree = listed = 0
    length = true_length = 0.0
    for seed in range(200, 224):
        truth = er_truth(Scene.random(np.random.default_rng(seed), (200, 200), "er"), 40.0)
        graph = tubule_graph((truth.labels % 2).astype(np.uint8))
        (true_at, true_degree), (at, degree) = junctions(truth.network), junctions(graph)
        links = link_places(true_at, at, reach=8)
        there, found, listed = there + len(true_at), found + len(links.same), listed + len(at)
        same_degree += sum(true_degree[i] == degree[j] for i, j in links.same)
        length += sum(data["length_px"] for *_, data in graph.edges(data=True))
        true_length += sum(data["length_px"] for *_, data in truth.network.edges(data=True))
    assert there > 150
    assert found / there > 0.85
    assert found / listed > 0.7  # edges that bend across each other make junctions that no list has
    assert same_degree / found > 0.95
    assert length == pytest.approx(true_length, rel=0.1)


def junctions(graph: nx.Graph) -> tuple[np.ndarray, list[int]]:
    nodes = [node for node, degree in graph.degree() if degree > 2]
    places = np.array([graph.nodes[node]["place"] for node in nodes]).reshape(-1, 2)
    return places, [graph.degree(node) for node in nodes]


def test_small_holes_are_no_meshes() -> None:
    mask = drawn([(60, 20, 60, 100)], [], 9).astype(np.uint8)
    mask[59:61, 50:53] = 0
    assert loops(tubule_graph(mask)) == 0
    assert loops(tubule_graph(mask, AS_DRAWN)) == 1
    mask[59:61, 50:53] = Structure.SHEET
    assert loops(tubule_graph(mask)) == 1


@pytest.mark.parametrize("number", range(8))
def test_nodes_and_edges_are_those_of_another_library(number: int) -> None:
    """What sknw 0.15 made of real and simulated masks, with all that ERnet's definition takes from it."""
    theirs = json.loads((FIXTURES / "sknw.json").read_text())[number]
    with np.load(FIXTURES / "sknw_masks.npz", allow_pickle=False) as stored:
        mask = np.unpackbits(stored[f"mask{number}"], axis=1).astype(bool)[:, : theirs["width"]]
    skeleton = skeleton_of(mask, all_corners=True)
    assert (len(skeleton.nodes), len(skeleton.paths)) == (theirs["nodes"], theirs["edges"])
    ends = Counter(end for path in skeleton.paths for end in (path.first, path.second))
    found = Counter(ends[node] for node in range(len(skeleton.nodes)))
    assert found == {int(degree): n for degree, n in theirs["degrees"].items()}
    ernet = ernet_graph(mask.astype(np.uint8), least_piece_px=1)
    assert ernet.number_of_edges() == theirs["simple_edges"]


def test_ernet_takes_parallel_tubules_as_one_and_drops_small_pieces() -> None:
    mask = drawn([(60, 30, 60, 90), (5, 5, 5, 15)], [(60, 60, 30)], 3)
    graph = ernet_graph(mask.astype(np.uint8))
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (2, 1)


def test_a_short_spur_goes_and_a_branch_stays() -> None:
    trunk = (60, 20, 60, 100)
    for length, edges in ((4, 1), (16, 3)):
        mask = drawn([trunk, (60, 60, 60 + length, 60)], [], 7)
        assert tubule_graph(mask.astype(np.uint8)).number_of_edges() == edges
    uncorrected = tubule_graph(drawn([trunk, (60, 60, 64, 60)], [], 7).astype(np.uint8), AS_DRAWN)
    assert degrees(uncorrected)[3] >= 1


def test_an_end_is_free_or_at_a_sheet_or_at_the_border() -> None:
    labels = drawn([(60, 0, 60, 80), (60, 40, 20, 40), (60, 50, 100, 50)], [], 5).astype(np.uint8)
    labels[90:, 40:70] = Structure.SHEET
    kinds = Counter(data["kind"] for _, data in tubule_graph(labels).nodes(data=True))
    assert kinds == {Kind.END: 2, Kind.SHEET: 1, Kind.BORDER: 1, Kind.JUNCTION: 2}
    assert degrees(ernet_graph(labels))[1] == 4


@pytest.mark.parametrize("angle", np.linspace(0, np.pi / 2, 13))
def test_lengths_do_not_depend_on_the_direction(angle: float) -> None:
    dy, dx = round(80 * np.sin(angle)), round(80 * np.cos(angle))
    mask = drawn([(20, 20, 20 + dy, 20 + dx)], [], 1)
    [(_, _, data)] = tubule_graph(mask.astype(np.uint8), AS_DRAWN).edges(data=True)
    assert data["length_px"] == pytest.approx(np.hypot(dy, dx), rel=0.015)
    assert data["chord_px"] == pytest.approx(np.hypot(dy, dx), rel=1e-6)


@pytest.mark.parametrize("radius", [10, 20, 35])
def test_the_length_of_a_ring_is_its_circumference(radius: int) -> None:
    mask = drawn([], [(60, 60, radius)], 3)
    [(_, _, data)] = tubule_graph(mask.astype(np.uint8)).edges(data=True)
    assert data["length_px"] == pytest.approx(2 * np.pi * radius, rel=0.03)
    assert data["chord_px"] == 0


def test_single_pixels_have_no_length() -> None:
    assert path_length(np.array([[3.0, 4.0]])) == 0
    graph = tubule_graph(np.pad(np.ones((1, 1), np.uint8), 5), AS_DRAWN)
    assert degrees(graph) == {0: 1}
