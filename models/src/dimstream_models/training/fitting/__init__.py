"""The optimisation: losses, schedule, checkpoints, resuming."""
