"""`python -m genopred.cli` is `genopred`."""

import sys

from genopred.cli import main

if __name__ == "__main__":
    sys.exit(main())
