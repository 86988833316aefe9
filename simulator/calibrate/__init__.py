"""Fitting a step profile to timings of an engine."""
