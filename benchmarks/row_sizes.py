"""How many bytes does a row take, its indexes included? One line for each table: python benchmarks/row_sizes.py URL...

Each URL names an empty database. The verbs write so many rows as --rows says: posts of 200 characters, comments of 80,
payments that go from initiate to release, one case in ten payments. A table's size is what the server says afterwards.
"""

import argparse

import peewee

import engagement_db as edb
from engagement_db import testing

TEXT = "Shipped the second milestone, and the tests are green. "
USERS = 100


def write_rows(database: peewee.Database, rows: int) -> None:
    """Write by verbs, a hundred in a transaction, which changes nothing about the size."""
    users = [testing.make_user(f"User {number}") for number in range(USERS)]
    accounts = [testing.make_account(user) for user in users]
    for first in range(0, rows, 100):
        with database.atomic():
            for number in range(first, first + 100):
                write_one(number, users, accounts[number % USERS])


def write_one(number: int, users: list[edb.User], account: edb.EscrowAccount) -> None:
    one, other = users[number % USERS], users[(number * 7 + 1) % USERS]
    post = edb.FeedPost.publish(one, (TEXT * 4)[:200], visibility=edb.Visibility.PUBLIC)
    edb.FeedReaction.react(post, other, edb.ReactionType.LIKE)
    edb.FeedComment.reply(post, other, (TEXT * 2)[:80])
    edb.FeedShare.share(post, other, "email", TEXT[:40])
    payment = edb.EscrowTransaction.initiate(
        account, reference=f"E-{number}", amount=250, fee_amount=12, initiated_by=one, counterparty=other
    )
    payment.fund(by=one)
    payment.hold(by=one)
    if number % 10:
        payment.release(by=one)
        return
    case = edb.DisputeCase.open(payment, other, "late", TEXT)
    for stage in (edb.DisputeStage.MEDIATION, edb.DisputeStage.ARBITRATION):
        case.advance(stage, by=one)
    case.resolve(edb.Resolution.RELEASE, TEXT, by=one)


def sizes(database: peewee.Database, tables: list[str]) -> dict[str, int]:
    """Return the bytes of each table, its indexes and what is stored beside it included."""
    names = ", ".join(f"'{name}'" for name in tables)
    match database:
        case peewee.PostgresqlDatabase():
            database.execute_sql("VACUUM ANALYZE")
            found = database.execute_sql(
                "SELECT relname, pg_total_relation_size(oid) FROM pg_class "
                f"WHERE relkind = 'r' AND relname IN ({names})"
            )
        case peewee.MySQLDatabase():
            database.execute_sql(f"ANALYZE TABLE {', '.join(tables)}").fetchall()
            # A copy that MySQL keeps for a day is refreshed by ANALYZE TABLE.
            found = database.execute_sql(
                "SELECT table_name, data_length + index_length FROM information_schema.tables "
                f"WHERE table_schema = DATABASE() AND table_name IN ({names})"
            )
        case _:
            found = database.execute_sql(
                "SELECT m.tbl_name, SUM(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name "
                "GROUP BY m.tbl_name"
            )
    return dict(found.fetchall())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--rows", type=int, default=5_000)
    options = parser.parse_args()
    tables = [model._meta.table_name for model in edb.MODELS]
    tables = [name for name in tables if name not in ("users", "projects", "gigs", "escrow_accounts")]
    measured = {}
    for url in options.urls:
        with testing.scratch_database(url) as database, edb.bind_ctx(database):
            write_rows(database, options.rows)
            counts = {name: database.execute_sql(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables}
            found = sizes(database, tables)
            measured[url.partition(":")[0]] = {name: round(found[name] / counts[name]) for name in tables}
    print(f"| table | {' | '.join(measured)} |")
    print("|---" * (len(measured) + 1) + "|")
    for name in tables:
        print(f"| `{name}` | {' | '.join(f'{sizes[name]:,}' for sizes in measured.values())} |")


if __name__ == "__main__":
    main()
