import json
import re
import shutil

import pytest

from app import assets
from app.settings import ROOT


@pytest.fixture
def root(tmp_path):
    """A project folder whose node_modules are in line with its lock."""
    packages = {
        "": {"name": "podium"},
        "node_modules/a": {"version": "1.0.0", "integrity": "sha512-x"},
        "node_modules/only-on-mac": {"version": "1.0.0", "optional": True},
    }
    (tmp_path / "package-lock.json").write_text(json.dumps({"packages": packages}))
    installed = {name: value for name, value in packages.items() if name == "node_modules/a"}
    for path in assets.VENDOR_FILES.values():
        file = tmp_path / "node_modules" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    (tmp_path / "node_modules/.package-lock.json").write_text(json.dumps({"packages": installed}))
    return tmp_path


@pytest.fixture
def npm_calls(monkeypatch):
    calls = []
    monkeypatch.setattr(assets, "run_npm_ci", calls.append)
    return calls


def test_every_asset_is_copied_and_npm_left_alone_when_the_lock_is_installed(root, npm_calls):
    assert len(assets.list_missing_assets(root)) == len(assets.VENDOR_FILES)
    assets.install_assets(root)
    assert assets.list_missing_assets(root) == []
    assert npm_calls == []


def test_npm_runs_when_packages_are_missing_or_of_another_version(root, npm_calls):
    lock = root / "package-lock.json"
    lock.write_text(lock.read_text().replace('"version": "1.0.0", "integrity"',
                                             '"version": "1.0.1", "integrity"'))  # fmt: skip
    assets.install_assets(root)
    (root / "node_modules/.package-lock.json").unlink()
    assets.install_assets(root)
    assert npm_calls == [root, root]


def test_npm_runs_when_its_record_names_a_package_whose_files_are_missing(root, npm_calls):
    (root / "node_modules/diff/libesm/diff/word.js").unlink()
    with pytest.raises(FileNotFoundError):  # the npm of this test installs nothing
        assets.install_assets(root)
    assert npm_calls == [root]


def test_every_vendored_module_finds_what_it_imports():
    for path in assets.VENDOR_FILES:
        file = ROOT / "static/vendor" / path
        if file.suffix != ".js" or not file.is_file():
            continue
        for imported in re.findall(r"^import .* from ['\"](\..*)['\"];$", file.read_text(), re.M):
            assert (file.parent / imported).is_file(), f"{path} imports {imported}"


def test_a_changed_file_is_copied_again(root, npm_calls):
    assets.install_assets(root)
    (root / "node_modules/htmx.org/dist/htmx.min.js").write_text("a newer one")
    assets.install_assets(root)
    assert (root / "static/vendor/htmx/htmx.min.js").read_text() == "a newer one"


def test_a_machine_without_npm_is_told_what_to_do(root, monkeypatch):
    shutil.rmtree(root / "node_modules")
    monkeypatch.setattr(assets.shutil, "which", lambda _name: None)
    with pytest.raises(assets.Unavailable, match=r"Node\.js"):
        assets.install_assets(root)


def test_versions_are_pinned_exactly_and_the_lock_names_no_host():
    package = json.loads((ROOT / "package.json").read_text())
    for versions in (package["dependencies"], package["devDependencies"]):
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())
    assert "resolved" not in (ROOT / "package-lock.json").read_text()
