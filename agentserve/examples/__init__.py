"""Small agents that run against any gateway: `python -m agentserve.examples.parallel --model NAME`."""
