"""The methods that adapt a library to new tasks, a file each."""
