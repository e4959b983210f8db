"""The rules of the tree that no other tool holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from ambientlab.cluster import HOST_NAME

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/ambientlab"
MODULES = sorted(SOURCE.rglob("*.py"))
MOST_LINES = 600

# Marks that work was left undone, places of one machine, and where packages come from there.
FORBIDDEN = re.compile(
    r"\b(TODO|FIXME|XXX)\b|/work/(main|shared)|/home/(?!ada\b|app\b|user\b)\w+/|site-packages/|"
    r"--index-url|--extra-index-url|artifactory|://pypi\.|(?<!\bhost\.ambientlab)\.internal\b",
)
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".txt", ".cfg", ""}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.split(r"[^\w.-]", entry, maxsplit=1)[0].lower() for entry in project["dependencies"]}


def imported(module: Path) -> set[str]:
    """The top-level packages a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_says_what_it_is_for_and_stays_small(module: Path) -> None:
    text = module.read_text()
    assert ast.get_docstring(ast.parse(text)), "a module opens with why it is there"
    assert text.count("\n") <= MOST_LINES, f"more than {MOST_LINES} lines want to be two modules"


def test_the_map_of_the_code_names_what_is_there() -> None:
    """Modules in ARCHITECTURE.md, by their dots from a room on, and files of rooms."""
    rooms = "|".join(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
    named = re.findall(rf"`((?:{rooms})(?:[./]\w+)*)`", (ROOT / "ARCHITECTURE.md").read_text())
    places = {name: SOURCE / name.removesuffix(".py").replace(".", "/") for name in named}
    del places[HOST_NAME]
    assert len(places) > 40
    missing = [name for name, path in places.items() if not (path.is_dir() or path.with_suffix(".py").is_file())]
    assert missing == []


def test_every_folder_of_modules_is_a_package() -> None:
    scripts = {SOURCE / "images/programs"}  # run by containers, never imported
    assert {module.parent for module in MODULES} - {init.parent for init in SOURCE.rglob("__init__.py")} == scripts


def test_nothing_speaks_of_one_machine_or_of_work_left_undone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked()
        if path.suffix in TEXT and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert found == []


def test_every_script_can_be_run() -> None:
    scripts = [path for path in tracked() if path.parent in (ROOT / "scripts", ROOT / ".ci")]
    assert scripts
    for script in scripts:
        assert script.stat().st_mode & 0o111 == 0o111, f"chmod +x {script.relative_to(ROOT)}"
        assert script.read_text().startswith("#!"), script


def test_every_dependency_has_its_reason_in_the_architecture() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text().partition("## Dependencies")[2]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)[1:]
    assert sorted(name.lower() for row in rows for name in row.split(", ")) == sorted(declared())


def test_what_is_imported_is_declared() -> None:
    distributions = packages_distributions()
    for module in MODULES:
        # programs of containers run on their own and import what lies beside them
        beside = {path.stem for path in module.parent.glob("*.py")} if module.parent.name == "programs" else set()
        for package in imported(module) - sys.stdlib_module_names - {"ambientlab"} - beside:
            homes = {name.lower() for name in distributions.get(package, [package])}
            assert homes & declared(), f"{module.relative_to(SOURCE)} imports {package}, of {homes}"


def test_the_readme_begins_with_the_two_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    commands = [line.split()[0] for line in blocks[0].splitlines()]
    assert commands == ["scripts/lab", "scripts/test"]


def test_a_virtual_environment_is_never_committed(tmp_path: Path) -> None:
    """Nor one that is a link to another tree's."""
    git = ("git", "-C", str(tmp_path))
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    (tmp_path / ".venv").symlink_to(tmp_path)
    told = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["??", ".gitignore"]
