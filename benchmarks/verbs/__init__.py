"""The verbs and queries of engagement_db beside the bare driver and four ORMs. ``benchmarks/README.md`` tells how."""

import sys
from pathlib import Path

# The servers and the counter of turns are those of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))
