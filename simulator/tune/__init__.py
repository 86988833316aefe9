"""Tuning: a search for better parameters of a policy, every setting judged by simulations of the same traffic."""
