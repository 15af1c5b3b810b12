"""Image metrics: each is a plain function of arrays, tested against an independent reference."""
