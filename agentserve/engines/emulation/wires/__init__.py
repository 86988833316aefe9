"""The emulated engine's answers in the shapes of each of vLLM's APIs: a file an API."""
