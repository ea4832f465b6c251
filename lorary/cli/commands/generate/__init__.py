"""The parts of ``lorary generate``: the command, and how it shows which experts the tokens used."""
