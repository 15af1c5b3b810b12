"""Workers of a gateway that Ray places on the machines of its cluster; needs the extra `[ray]`."""
