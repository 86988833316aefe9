"""Engines and gateways on a Ray cluster: deployed, kept up, restarted and scaled."""
