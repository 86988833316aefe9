"""Virtual models in virtual time: simulated questions, and what drives the procedures of the scheduler with them."""
