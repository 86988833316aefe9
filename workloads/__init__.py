"""Programs as data: their format, generators, readers of public traces, and the client that replays them over HTTP."""
