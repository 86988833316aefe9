"""What the emulated engine is made of: its text, its clock, and its HTTP routes."""
