"""Tenants in schemas of one PostgreSQL database, as docs/services.md says."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import engagement_db_command, run
from platform_database import execute, family

import engagement_db as edb
from engagement_db import testing

PAGE = (Path(__file__).parents[1] / "docs" / "services.md").read_text("utf-8")


def test_a_schema_is_a_tenant_of_its_own(url):
    if family(url) != "postgres":
        pytest.skip("a schema is a database on MySQL and MariaDB, and SQLite has none")
    (parameters,) = re.findall(r"`postgresql://\S+/platform\?(\S+)`", PAGE)
    tenants = {name: f"{url}?{parameters.replace('north', name)}" for name in ("north", "south")}
    for name, tenant in tenants.items():
        execute(url, f"CREATE SCHEMA {name}")
        ended = run(engagement_db_command("migrate", tenant, "--stand-ins"))
        assert ended.code == 0, ended.words
    for count, tenant in enumerate(tenants.values(), 1):
        with ExitStack() as stack:
            database = edb.open_database(tenant)
            stack.enter_context(database.connection_context())
            stack.enter_context(edb.bind_ctx(database))
            edb.verify()
            payment = testing.make_transaction(status=edb.TransactionStatus.IN_ESCROW)
            for _ in range(count):
                testing.make_post()
            assert payment.release().changed
            assert edb.find_problems() == []
            assert (edb.FeedPost.select().count(), edb.EscrowTransaction.select().count()) == (count, 1)
        ended = run(engagement_db_command("check", tenant, "--rows"))
        assert ended.code == 0, ended.words
    for tenant in tenants.values():
        ended = run(engagement_db_command("rollback", tenant, "--to", "0", "--discard-rows"))
        assert ended.code == 0, ended.words
