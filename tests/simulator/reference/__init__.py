"""The engine model block by block and step by step, with the vLLM plugin's own retention: slow, and easy to believe."""
