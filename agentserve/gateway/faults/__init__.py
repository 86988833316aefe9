"""What the gateway does when engines fail, when answers do not come, and when it is told to stop."""
