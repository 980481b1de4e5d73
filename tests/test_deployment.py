"""The page of a deployment shows what the revisions send."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import engagement_db_command, start
from cut_proxy import CutProxy
from platform_database import family
from sqlite_statements import record

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
DRAWN = dict(zip(("postgres", "mysql", "sqlite"), re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL), strict=True))
DRAWN["mariadb"] = DRAWN["mysql"]


def test_the_deployment_of_the_contract_is_drawn_as_it_is():
    script = [sys.executable, str(ROOT / "docs" / "deployment.py")]
    assert subprocess.run(script, check=True, capture_output=True, text=True).stdout == PAGE


def sent(url, path):
    """What `migrate` sends, without quotes and line breaks."""
    command = engagement_db_command("migrate", url, "--stand-ins")
    if family(url) == "sqlite":
        assert start(command, record(path)).wait().code == 0
        statements = path.read_text().splitlines()
    else:
        with CutProxy(url) as proxy:
            deployer = start(engagement_db_command("migrate", proxy.own_url, "--stand-ins"))
            proxy.watch(deployer.process)
            assert deployer.wait().code == 0
            statements = proxy.statements
    return [" ".join(re.sub('["`]', "", statement).split()) for statement in statements]


@pytest.mark.usefixtures("first_three")
def test_what_is_drawn_is_what_is_sent_of_the_contract(url, tmp_path):
    statements = iter(sent(url, tmp_path / "statements"))
    messages = re.findall(r"d->>s: (.*)", DRAWN[family(url)])
    drawn = [message.replace("<br/>", " ") for message in messages if message.startswith(("ALTER", "CREATE"))]
    assert len(drawn) >= 2
    created = [message.split(",")[0].upper() for message in messages if message.startswith("create table")]
    assert len(created) == 9
    for expected in [*created, *drawn]:
        # The same iterator for all of them: each comes after the one before.
        assert any(statement.upper().startswith(expected.upper()) for statement in statements), expected
