"""z-stacks: which planes can be believed, the crop that follows, and pictures of them."""
