"""Virtual models: one chat completion to the client, a procedure over pools behind it."""
