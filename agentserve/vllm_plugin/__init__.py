"""The part of agentserve that runs inside vLLM: it keeps the KV of agent programs through their tool calls.

Retention is soft. Protected blocks stay free in vLLM's books and lose only their place in the order of eviction.
"""
