"""The broker with nobody to ask for a token and nothing sealed: what the bench holds the real one against.

python -m broker.bench.bare serve …        as `broker serve`
"""

from __future__ import annotations

import sys

from broker.audit import sealer
from broker.cli.main import main

# Seconds between two seals: far more than a bench takes. There is no such setting.
NEVER = 1e6


if __name__ == "__main__":
    sealer.EVERY = NEVER
    sys.exit(main())
