"""Engines that join and leave while the gateway serves: who lists them, and what follows from a list."""
