"""Whether a simulation agrees with real engines: the same programs on both sides, and the error of each figure."""
