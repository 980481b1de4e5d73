"""A process of the races on clusters: it continues after each failure that the library has an error for.

    python cluster_worker.py URL GAME SEED OPERATIONS LOG USER_ID...

A line of the log is what this process knows to have changed, or "-" where nothing was. These are operations; after "?"
the outcome of a commit is not known, and after "! code" the same could be called again. "~ code" is an error of the
server after which the library ran a transaction again by itself.
"""

import logging
import os
import random
import sys
import time

import escrow_worker
import peewee

import engagement_db as edb
from engagement_db.servers.driver import own_code

PAUSE_SECONDS = 0.1
DEADLOCK = 1213
# So many that the race is not over before a node is killed.
PAYMENTS = 200


class _Retries(logging.Handler):
    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is not None and record.getMessage().startswith("retrying"):
            os.write(self._lines, f"~ {own_code(error)}\n".encode())


def main() -> None:
    url, game, seed, operations, log, *names = sys.argv[1:]
    # Here, because tests import this module too, and other races have fewer payments.
    escrow_worker.PAYMENTS = PAYMENTS
    play = getattr(escrow_worker, f"play_{game}")
    chance, users, done = random.Random(seed), [int(name) for name in names], 0
    database = edb.connect(url)
    lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    retries = logging.getLogger("engagement_db.orm.transactions")
    retries.setLevel(logging.INFO)
    retries.addHandler(_Retries(lines))
    while done < int(operations):
        try:
            line, done = play(chance, users) or "-", done + 1
        except edb.Refused:
            line, done = "-", done + 1
        except edb.OutcomeUnknown:
            line = "?"
        except edb.EngagementError as error:
            if not error.retryable:
                raise
            line = f"! {error.code}"
            time.sleep(PAUSE_SECONDS)
        except peewee.OperationalError as error:
            # A query of peewee's own, outside of every verb, which a node that is being cut off has ended.
            if own_code(error) != DEADLOCK:
                raise
            line = "! deadlock of a query"
        os.write(lines, f"{line}\n".encode())
    database.close()


if __name__ == "__main__":
    main()
