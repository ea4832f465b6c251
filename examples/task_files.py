"""Print the files of the 43 training tasks of examples/natural_instructions.py, for a command's --config.

python examples/task_files.py DATA > tasks.yaml
lorary eval LIBRARY --config tasks.yaml --routes phatgoose --harness arc_easy --data DATA
"""

import sys
from pathlib import Path

import yaml
from natural_instructions import find_task_files


def main() -> None:
    """Print a mapping from each task to its file."""
    files = find_task_files(Path(sys.argv[1]))
    print(yaml.safe_dump({"tasks": {name: str(path) for name, path in files.items()}}), end="")


if __name__ == "__main__":
    main()
