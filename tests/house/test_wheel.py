"""The wheel holds all that the broker reads at run time, and works where there is no checkout.

Its dependencies are those of this environment (installing them again would test pip): the wheel lies before them on the path.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.house.rooms import ROOT

READ_AT_RUN_TIME = {
    ".lua",
    ".sql",
    ".html",
    ".css",
    ".js",
    ".svg",
    ".yaml",
    ".json",
    ".txt",
    ".png",
    ".ico",
    ".woff2",
    ".webmanifest",
}
SHIPPED = {"templates": "broker/_shipped/templates", "policies": "broker/_shipped/policies", "broker": "broker"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)], cwd=ROOT, check=True, capture_output=True
    )
    [built] = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an empty environment with the wheel in it, and this environment's dependencies behind it."""
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(home, symlinks=True)
    [packages] = home.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "-qq", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    return home / "bin" / "python"


def run(python: Path, *args: str, at: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BROKER_", "PYTHON"))}
    done = subprocess.run([str(python), *args], cwd=at, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_everything_that_is_read_at_run_time_is_in_the_wheel(wheel: Path, tracked: list[Path]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {
        f"{SHIPPED[path.parts[0]]}/{path.relative_to(path.parts[0]).as_posix()}"
        for path in tracked
        if path.parts[0] in SHIPPED and (path.suffix in READ_AT_RUN_TIME or path.suffix == ".py")
    }
    assert len(wanted) > 20
    assert wanted - names == set()


def test_the_wheel_carries_licence_and_notices(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        licences = {Path(name).name for name in archive.namelist() if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "THIRD_PARTY_NOTICES"}


def test_the_wheel_runs_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import broker, broker.assets as a; print(broker.__file__, a.shipped('templates'), a.shipped('policies'), sep='\\n')"
    places = run(installed, "-c", code, at=tmp_path).splitlines()
    assert [Path(place).is_relative_to(installed.parents[1]) for place in places] == [True, True, True]
    assert "usage: broker" in run(installed, "-m", "broker", "--help", at=tmp_path)
    assert run(installed, str(installed.with_name("broker")), "--version", at=tmp_path).startswith("broker ")


def test_every_module_of_the_wheel_can_be_imported(installed: Path, tmp_path: Path) -> None:
    code = (
        "import broker, importlib, pkgutil\n"
        "names = [m.name for m in pkgutil.walk_packages(broker.__path__, 'broker.') if not m.name.endswith('__main__')]\n"
        "[importlib.import_module(name) for name in names]\n"
        "print(len(names))"
    )
    assert int(run(installed, "-c", code, at=tmp_path)) > 50
