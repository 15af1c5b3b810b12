"""Figures of a network of tubules, in px; `er_figures` defines them."""

from __future__ import annotations

from collections import Counter

import networkx as nx
import numpy as np

from dimstream_models.analysis.graph import Kind, nodes_of
from dimstream_models.er_figures import MOST_COUNTED

Figures = dict[str, float | None]


def graph_figures(graph: nx.MultiGraph, shape: tuple[int, int]) -> Figures:
    """Return the figures of `graph.tubule_graph` in a frame of `shape` (H, W)."""
    junctions = sum(1 for _, degree in graph.degree() if degree > 2)
    area = shape[0] * shape[1]
    lengths = [data["length_px"] for *_, data in graph.edges(data=True)]
    ways = [(data["length_px"], data["chord_px"]) for one, two, data in graph.edges(data=True) if one != two]
    chords = sum(chord for _, chord in ways)
    return {
        **network_figures(graph),
        "isolated": sum(1 for _, degree in graph.degree() if degree == 0),
        "free_ends": len(nodes_of(graph, Kind.END)),
        "ends_at_sheets": len(nodes_of(graph, Kind.SHEET)),
        "ends_at_border": len(nodes_of(graph, Kind.BORDER)),
        **_degrees(graph, 3),
        "junctions": junctions,
        "junction_density": junctions / area,
        "node_density": graph.number_of_nodes() / area,
        "loops": graph.number_of_edges() - graph.number_of_nodes() + nx.number_connected_components(graph),
        "tubule_length": float(sum(lengths)),
        "edge_length": float(np.median(lengths)) if lengths else None,
        "tortuosity": sum(length for length, _ in ways) / chords if chords else None,
    }


def ernet_figures(graph: nx.Graph) -> Figures:
    """Return the figures of `graph.ernet_graph`."""
    figures = {**network_figures(graph), **_degrees(graph, 1)}
    return {f"ernet_{name}": value for name, value in figures.items()}


def network_figures(graph: nx.Graph) -> Figures:
    """Return the figures of any graph: sizes, parts, assortativity, clustering; None where undefined."""
    parts = list(nx.connected_components(graph))
    nodes, edges = graph.number_of_nodes(), graph.number_of_edges()
    largest = graph.subgraph(max(parts, key=len)) if parts else graph
    return {
        "nodes": nodes,
        "edges": edges,
        "components": len(parts),
        "largest_nodes": largest.number_of_nodes() / nodes if nodes else None,
        "largest_edges": largest.number_of_edges() / edges if edges else None,
        "assortativity": _assortativity(graph),
        "clustering": float(nx.average_clustering(nx.Graph(graph))) if nodes else None,
    }


def _assortativity(graph: nx.Graph) -> float | None:
    at_ends = {degree for node, degree in graph.degree() if degree}
    if len(at_ends) < 2:
        return None
    value = float(nx.degree_pearson_correlation_coefficient(graph))
    return value if np.isfinite(value) else None


def _degrees(graph: nx.Graph, least: int) -> Figures:
    found = Counter(degree for _, degree in graph.degree())
    counted: Figures = {f"degree_{n}": found[n] for n in range(least, MOST_COUNTED + 1)}
    counted[f"degree_above_{MOST_COUNTED}"] = sum(n for degree, n in found.items() if degree > MOST_COUNTED)
    return counted
