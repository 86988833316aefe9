"""What a gateway does, as it does it: the feed of what changes, and the page that shows it."""
