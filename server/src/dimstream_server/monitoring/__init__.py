"""Monitoring of the server: metrics, health, and its log."""
