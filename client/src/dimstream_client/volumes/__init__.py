"""z-stacks: find the planes that can be trusted, propose a crop, and draw pictures."""
