"""The objectives that the loop can train, one file for each."""
