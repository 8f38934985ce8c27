"""``python -m bayeslmm``."""

import sys

from bayeslmm.cli import main

sys.exit(main())
