"""`python -m bench` is `bench.compare`."""

import sys

from bench.compare import main

sys.exit(main())
