"""What becomes of programs when processes die, the store is away, and cables are cut. See `__main__`."""
