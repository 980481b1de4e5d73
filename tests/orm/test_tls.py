"""Encrypted connections, as docs/security.md shows them: who is not the server of the certificate is refused."""

import os
import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import servers

import engagement_db as edb

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text("utf-8")
CIPHER = {
    "postgres": "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    "mariadb": "SHOW SESSION STATUS LIKE 'Ssl_cipher'",
    "mysql": "SHOW SESSION STATUS LIKE 'Ssl_cipher'",
}
SERVER_OPTIONS = {
    "postgres": ["--ssl=on", "--ssl_cert_file=server.pem", "--ssl_key_file=server.key"],
    "mariadb": ["--ssl-cert=server.pem", "--ssl-key=server.key"],
    "mysql": ["--ssl-cert=server.pem", "--ssl-key=server.key"],
}


def make_certificate(folder, name, address):
    """Make a certificate for the address that is its own authority."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    words = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={name} -addext subjectAltName=IP:{address}"
    command = ["openssl", *words.split(), "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / f"{name}.pem"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"), "server", "127.0.0.1")


@pytest.fixture(scope="module")
def encrypting(server, certificate):
    """The URL of a database on a server of our own that encrypts."""
    if server.name == "sqlite":
        pytest.skip("a file is not reached over a network")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(servers.url_variable(server.name), raising=False)
        try:
            with servers.running(server.name) as own:
                own.stop()
                data = own._process.folder / "data"
                owner = data.stat()
                for path in (certificate, certificate.with_suffix(".key")):
                    shutil.copy(path, data)
                    (data / path.name).chmod(0o600)
                    os.chown(data / path.name, owner.st_uid, owner.st_gid)
                own._process._run += SERVER_OPTIONS[server.name]
                own.start()
                yield own.create_database()
        except servers.Unavailable as reason:
            servers.skip_or_fail(server.name, reason)


def documented(server, authority):
    """The parameters that the page shows for this server."""
    scheme = "postgresql" if server.name == "postgres" else "mysql"
    (found,) = re.findall(rf"^{scheme}://\S+\?(\S+)$", PAGE, re.MULTILINE)
    return found.replace("/etc/ssl/platform.pem", str(authority))


def test_a_verified_session_is_encrypted(server, encrypting, certificate):
    url = f"{encrypting}?{documented(server, certificate)}"
    with closing(edb.open_database(url)) as database:
        assert database.execute_sql(CIPHER[server.name]).fetchone()[-1]


def test_a_server_of_another_authority_is_refused(server, encrypting, tmp_path):
    other = make_certificate(tmp_path, "other", "127.0.0.1")
    database = edb.open_database(f"{encrypting}?{documented(server, other)}")
    with pytest.raises(edb.ConnectionLost, match="(?i)certificate"):
        database.connect()


def test_a_server_of_another_name_is_refused(server, encrypting, certificate):
    place = urlsplit(encrypting)
    elsewhere = place._replace(netloc=f"{place.username}@localhost:{place.port}").geturl()
    database = edb.open_database(f"{elsewhere}?{documented(server, certificate)}")
    with pytest.raises(edb.ConnectionLost, match="(?i)certificate"):
        database.connect()


def test_without_parameters_nothing_is_verified(server, encrypting):
    with closing(edb.open_database(encrypting)) as database:
        assert database.execute_sql("SELECT 1").fetchone() == (1,)
