"""The comparison of the tracked runs; the same as `python -m leafexp.report`."""

import sys

from leafexp.report.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
