"""Counts in, denoised counts and a flag out: the fused graph, its session, and the judging of frames."""
