"""z-stacks over time, as in the paper's figure 4: orthogonal views and surfaces."""
