"""Browser assets: installed by npm from the lock, copied to the git-ignored `static/vendor/`."""

import json
import shutil
import subprocess
from pathlib import Path

from app.errors import Unavailable

VENDOR_FILES = {
    "axe/axe.min.js": "axe-core/axe.min.js",
    "diff/diff/base.js": "diff/libesm/diff/base.js",
    "diff/diff/word.js": "diff/libesm/diff/word.js",
    "diff/util/string.js": "diff/libesm/util/string.js",
    "htmx/htmx.min.js": "htmx.org/dist/htmx.min.js",
    "icons/tabler-sprite.svg": "@tabler/icons-sprite/dist/tabler-sprite.svg",
    "sortable/Sortable.min.js": "sortablejs/Sortable.min.js",
    "sortable/sortable.esm.js": "sortablejs/modular/sortable.esm.js",
    "tabler/tabler.min.css": "@tabler/core/dist/css/tabler.min.css",
    "uplot/uPlot.esm.js": "uplot/dist/uPlot.esm.js",
    "uplot/uPlot.min.css": "uplot/dist/uPlot.min.css",
}
"""Path under `static/vendor/` → path under `node_modules/`. Of a package of many modules only those
that pages import."""


def install_assets(root: Path) -> None:
    """Bring `static/vendor/` in line with `package-lock.json`; quick when it already is."""
    if not node_modules_match_lock(root):
        run_npm_ci(root)
    for vendor_path, module_path in VENDOR_FILES.items():
        copy_if_changed(root / "node_modules" / module_path, root / "static/vendor" / vendor_path)


def list_missing_assets(root: Path) -> list[str]:
    """Files of `static/vendor/` that pages need and that are not there."""
    return [path for path in VENDOR_FILES if not (root / "static/vendor" / path).is_file()]


def node_modules_match_lock(root: Path) -> bool:
    """Whether every package of the lock is installed in the locked version.

    npm keeps its own record of what it installed inside `node_modules`; comparing it with the lock
    costs two small files, so this may run at every start. `npm install --package-lock-only` writes
    that record without installing, so the files that pages need are looked for as well.
    """
    try:
        installed = read_locked_versions(root / "node_modules/.package-lock.json")
    except FileNotFoundError:
        return False
    if not all((root / "node_modules" / path).is_file() for path in VENDOR_FILES.values()):
        return False
    return all(
        installed.get(name) == version
        for name, version in read_locked_versions(root / "package-lock.json").items()
    )


def read_locked_versions(path: Path) -> dict[str, str]:
    """Package path → version and integrity, without the project itself and optional packages."""
    packages = json.loads(path.read_text())["packages"]
    return {
        name: f"{package.get('version')} {package.get('integrity')}"
        for name, package in packages.items()
        if name and not package.get("optional")
    }


def run_npm_ci(root: Path) -> None:
    """Install exactly the lock's packages, without running their scripts."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(
            "npm is needed once to install the browser assets: install Node.js 20 or newer, "
            "or copy static/vendor/ from a machine that has it.",
            code="npm_missing",
        )
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        last_lines = "\n".join(result.stderr.strip().splitlines()[-5:])
        raise Unavailable(f"`npm ci` failed:\n{last_lines}", code="npm_failed")


def copy_if_changed(source: Path, target: Path) -> None:
    """Copy a file unless the target already has its size and time."""
    if target.is_file():
        was, now = target.stat(), source.stat()
        if (was.st_size, was.st_mtime_ns) == (now.st_size, now.st_mtime_ns):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
