"""`python3 -m pxeforge.agent`, for use from a checkout; the zipapp has its own entry."""

import sys

from pxeforge.agent.command import main

sys.exit(main())
