"""The quality of a bundle: on pairs, compared with classical filters, and with limits by the truth's own
noise."""
