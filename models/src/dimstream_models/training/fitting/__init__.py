"""The optimisation: losses, schedule, checkpoints, resume."""
