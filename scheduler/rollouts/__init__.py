"""What reinforcement learning needs to know of its samples: which weights wrote them, and how old these may be."""
