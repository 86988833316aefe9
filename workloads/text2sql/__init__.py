"""Text-to-SQL as a workload: an agent that answers questions on SQLite databases with a chain of LLM calls."""
