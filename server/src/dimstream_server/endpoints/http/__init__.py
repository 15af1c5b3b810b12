"""What stands between a TCP connection and the routes: protocol, limits of connections, limits of bodies."""
