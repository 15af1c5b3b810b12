"""The proof of the flags: movies whose truth is known, and what a bundle's flags say of them."""
