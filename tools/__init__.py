"""What a tool call is and how long tools take."""
