# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""``python -m mapxdp``."""

import sys

from mapxdp.cli import main

sys.exit(main())
