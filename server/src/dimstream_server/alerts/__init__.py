"""Sends people a notice when something goes wrong with a stream, and another when it is over.

`rules` find what is wrong, `active` decides which notices are sent, `webhook` posts them; `watching` joins
these while the server runs, and `command` sends a test alert. `docs/alerts.md` explains the rules.
"""
