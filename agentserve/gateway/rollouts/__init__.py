"""What trainers ask of a gateway: groups of samples by tokens, and the weights of its engines (docs/rollouts.md)."""
