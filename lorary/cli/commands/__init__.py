"""The commands of ``lorary``: a file each, or a folder whose ``command.py`` is the command."""
