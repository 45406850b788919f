"""The examples of docs/rest.md are run as a reader would run them: in a shell, one by one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.accounts.tokens import create_token
from app.accounts.users import create_user
from app.registry.service import ensure_starters
from app.settings import ROOT
from tests.browser.conftest import LiveServer, live_server

__all__ = ["live_server"]

JQ = '''#!{python}
"""The few things of jq that the guide uses: paths such as .a.b and .list[0].id, and -r."""
import json, re, sys
arguments = [argument for argument in sys.argv[1:] if argument != "-r"]
value = json.load(sys.stdin)
for name, place in re.findall(r"\\.([a-z_]+)|\\[(\\d+)\\]", arguments[0]):
    value = value[name] if name else value[int(place)]
print(value if "-r" in sys.argv and isinstance(value, str) else json.dumps(value))
'''


@pytest.fixture
def shell_path(tmp_path: Path) -> str:
    """A PATH on which `jq` is, the real one where it is installed."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    folder = tmp_path / "bin"
    folder.mkdir()
    if shutil.which("jq") is None:
        (folder / "jq").write_text(JQ.replace("{python}", sys.executable))
        (folder / "jq").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_the_examples_run_in_their_order(
    live_server: LiveServer, shell_path: str, tmp_path: Path
) -> None:
    with live_server.database.write() as session:
        ensure_starters(session)
        admin = create_user(session, email="ada@example.org", role="admin")
        token = create_token(session, admin, "guide")
    guide = (ROOT / "docs/rest.md").read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 9
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho ----\n".join(blocks)],
        cwd=tmp_path,
        env={"PATH": shell_path, "PODIUM": live_server.url, "TOKEN": token},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    said = done.stdout.split("----\n")
    assert said[1].strip() == '"invalid"'
    assert '"created":2' in said[2].replace(" ", "")
    assert '"rejected":[{' in said[3].replace(" ", "")
    assert '"line":2' in said[3].replace(" ", "")
    assert '"generating"' in said[4]
    assert '"rank' in said[5]
    assert said[6].strip().endswith("4")
    assert '"low"' in said[7]
    assert '"reopened_tasks":0' in said[8]
    assert "etag" in said[9].lower()
    assert '"queued"' in said[10]
    assert (tmp_path / "pairs.jsonl").read_text().count("\n") == 4
    assert (tmp_path / "consensus.jsonl").read_text().count("consensus-borda") == 2
    assert (tmp_path / "pairs.parquet").read_bytes()[:4] == b"PAR1"
    assert (tmp_path / "frozen.jsonl").read_text().count("\n") == 4
