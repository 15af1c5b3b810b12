"""Faults for tests: servers that are killed, programs that are killed, networks and disks that fail."""
