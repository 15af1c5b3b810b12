"""Who may use the server: keys, tokens, and the files that they are in."""
