"""How good a bundle is: on pairs, against classical filters, against the truth's own noise."""
