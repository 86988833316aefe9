"""Timing an engine over its OpenAI API."""
