"""The stress test: structures that a model may not invent, lose, merge or dim, next to a tuned Gaussian."""
