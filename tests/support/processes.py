"""Processes for the tests of races: forked from one that has imported what they need, and nothing else.

Started anew, each would import for half a second. Forked from the tests, it would share their connections.
"""

import multiprocessing
from typing import Final

CONTEXT: Final = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["engagement_db", "psycopg2", "pymysql"])
