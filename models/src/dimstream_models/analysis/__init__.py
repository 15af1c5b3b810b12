"""What the ER does: background, segments, graph, areas and their change, offline.

Needs the extra ``analysis``.
"""
