"""z-stacks: which planes can be trusted, the crop that follows, and pictures of them."""
