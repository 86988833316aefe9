"""Virtual models on two real engines; `python -m tests.benchmarks.reasoner`, or `make reasoner`."""
