"""Streams whatever they come by: opened, fed, resumed, recorded and watched; no sockets, no HTTP."""
