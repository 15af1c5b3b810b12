"""The live view: what streams do, shown in a browser. `docs/live-view.md` describes it, and its WebSocket."""
