"""``python -m genmix.cli`` is ``genmix``."""

import sys

from genmix.cli import main

sys.exit(main())
