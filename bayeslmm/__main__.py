"""``python -m bayeslmm``."""

import sys

from bayeslmm.commands.main import main

sys.exit(main())
