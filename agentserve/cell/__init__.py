"""Several gateways that have one brain: who has it, how the others reach it, and what they do while nobody has."""
