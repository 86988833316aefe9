"""Pages and traces of simulations, for people to look at."""
