"""``python -m lorary``: the command line."""

import sys

from lorary.cli import main

if __name__ == "__main__":
    sys.exit(main())
