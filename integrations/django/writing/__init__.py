"""Writes: which keys they outdate, and the moments at which the protocol is told."""
