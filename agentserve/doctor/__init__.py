"""Checks an installation, and says what to fix."""
