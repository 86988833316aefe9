"""Tuning in the background: what the gateway has just served is simulated, and a better setting proves itself live."""
