"""Offline analysis of the ER: background, segmentation, graph, areas, and how they change.

Needs the extra ``analysis``.
"""
