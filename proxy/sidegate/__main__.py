"""``python -m sidegate`` is the command ``sidegate``."""

import sys

from sidegate.cli import main

if __name__ == "__main__":
    sys.exit(main())
