"""How many files and sockets this process may have open."""


def descriptor_limit() -> int | None:
    """The present limit; None where there is none, or none is known."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
