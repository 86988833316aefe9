"""Tenants: who may call, how much, and what of their requests reaches an engine."""
