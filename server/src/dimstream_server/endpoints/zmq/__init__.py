"""The streaming endpoint's side of ZeroMQ's transport protocol, ZMTP 3, with every size bounded."""
