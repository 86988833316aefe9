"""Pages and traces of simulations, for people to look at."""

from simulator.report.chrome import write_chrome_trace
from simulator.report.page import write_html

__all__ = ["write_chrome_trace", "write_html"]
