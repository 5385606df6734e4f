"""``python -m hybrid`` is ``hybridrec``."""

import sys

from hybrid.cli import main

sys.exit(main())
