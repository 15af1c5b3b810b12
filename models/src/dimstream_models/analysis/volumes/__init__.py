"""z-stacks over time, as the paper's figure 4 shows them: orthogonal views and surfaces."""
