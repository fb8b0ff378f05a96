"""``python -m linkage_ledger`` is ``linkage-ledger``."""

import sys

from linkage_ledger.cli import main

sys.exit(main())
