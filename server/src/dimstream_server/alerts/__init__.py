"""Tells people once when something goes wrong with a stream, and once when it is well again.

`rules` find what is wrong, `active` decides what is told, `webhook` posts it; `watching` joins them while the
server runs, and `command` sends a test alert. `docs/alerts.md` explains the rules.
"""
