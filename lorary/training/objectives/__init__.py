"""What the loop can train, one file each."""
