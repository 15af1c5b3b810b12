"""From a finished run to a bundle that serves."""
