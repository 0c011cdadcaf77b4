"""The project's shell keeps its word: dependencies, pins, links, rule numbers and benches are what the files say."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PACKAGES = ("ledger", "consensus", "fl", "node")
# Extras that the four packages import from; the others are tools.
EXTRAS = ("data", "dp", "onnx", "plots", "ray", "sql")
# Where the name that is imported is not the name that is installed.
DISTRIBUTIONS = {"nacl": "pynacl", "PIL": "pillow"}
# | B1 | what holds | `test_...` |
RULE_AND_TESTS = re.compile(r"^\|\s*([A-Z]\d+)\s*\|.*\|\s*([^|]*?)\s*\|$", re.MULTILINE)


@cache
def tracked_files() -> tuple[Path, ...]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


@cache
def project() -> dict[str, object]:
    content: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return content


def requirements(*extras: str) -> dict[str, Requirement]:
    """By canonical name; those of the extras too."""
    lines = list(project()["dependencies"])  # type: ignore[call-overload]
    for extra in extras:
        lines += project()["optional-dependencies"][extra]  # type: ignore[index]
    return {canonicalize_name(parsed.name): parsed for parsed in map(Requirement, lines)}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text(), str(path))


def imported_roots(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module.partition(".")[0]]
    return []


@cache
def imported_distributions() -> dict[str, str]:
    """Every distribution that the four packages import, with one file that does."""
    found: dict[str, str] = {}
    for path, tree in sources():
        for node in ast.walk(tree):
            for root in imported_roots(node):
                if root not in sys.stdlib_module_names and root not in PACKAGES:
                    name = canonicalize_name(DISTRIBUTIONS.get(root, root))
                    found.setdefault(name, str(path.relative_to(ROOT)))
    return found


def pins() -> dict[str, Version]:
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, separator, version = line.partition("==")
            assert separator, f"constraints.txt: {line!r} pins nothing"
            assert canonicalize_name(name) == name, f"constraints.txt: write {canonicalize_name(name)}"
            assert name not in found, f"constraints.txt: {name} stands twice"
            found[name] = Version(version)
    return found


def test_everything_imported_is_a_declared_dependency():
    declared = requirements(*EXTRAS)
    missing = {name: where for name, where in imported_distributions().items() if name not in declared}
    assert not missing, f"imported and not in pyproject.toml: {missing}"


def test_every_declared_dependency_is_imported():
    unused = requirements(*EXTRAS).keys() - imported_distributions().keys()
    assert not unused, f"in pyproject.toml and imported by nobody: {sorted(unused)}"


def test_what_only_an_extra_brings_is_imported_when_it_is_needed():
    """A node without Parquet files or pictures starts without the libraries that read them."""
    optional = requirements(*EXTRAS).keys() - requirements().keys()
    early = [
        f"{path.relative_to(ROOT)} imports {root}"
        for path, tree in sources()
        for node in tree.body
        for root in imported_roots(node)
        if canonicalize_name(DISTRIBUTIONS.get(root, root)) in optional
    ]
    assert not early, early


def test_the_pinned_versions_are_in_the_declared_ranges():
    pinned = pins()
    for name, wanted in requirements(*EXTRAS, "dev").items():
        assert name in pinned, f"{name} is declared and not pinned in constraints.txt"
        assert wanted.specifier.contains(pinned[name]), f"{name} {pinned[name]}, want {wanted.specifier}"


def test_the_library_whose_inside_we_repair_is_pinned_exactly():
    """Any other version of it may be a good one, but nobody has looked."""
    assert str(requirements()["libp2p"].specifier) == f"=={pins()['libp2p']}"


def test_the_build_takes_the_four_packages_and_no_other():
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert content["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == list(PACKAGES)


def test_no_tracked_file_names_a_machine_or_a_package_registry():
    # Spelt apart, so that this file passes its own test.
    hosts = [
        ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("golang", "org"))
    ]
    places = re.compile(r"(?<![\w.~-])/(?:work|root)/|" + "|".join(map(re.escape, hosts)))
    neighbours = "../" + "shared"
    found = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # data, not text
        name = path.relative_to(ROOT)
        found += [f"{name}: {match.group()}" for match in places.finditer(text)]
        if neighbours in text and name.parts[0] != "tests":
            found.append(f"{name}: {neighbours}")
    assert not found, found


def test_links_between_documents_lead_somewhere():
    link = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
    dead = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in tracked_files()
        if path.suffix == ".md"
        for target in link.findall(path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert not dead, dead


@cache
def names_of_tests() -> frozenset[str]:
    """Of every test function in the suite, and of every story that Hypothesis makes up (`TestX = X.TestCase`)."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(node.name)
            if isinstance(node, ast.Assign):
                found.update(each.id for each in node.targets if isinstance(each, ast.Name) and each.id[:4] == "Test")
    return frozenset(found)


def protocol_rules() -> list[tuple[str, tuple[str, ...]]]:
    """(number, names of tests) of every row of the tables in docs/protocol.md."""
    text = (ROOT / "docs" / "protocol.md").read_text()
    return [(number, tuple(re.findall(r"`([tT]est_?\w+)`", last))) for number, last in RULE_AND_TESTS.findall(text)]


def test_the_protocol_names_only_tests_that_exist():
    wrong = [
        f"{number}: {name}" for number, names in protocol_rules() for name in names if name not in names_of_tests()
    ]
    assert not wrong, f"docs/protocol.md names tests that are not there: {wrong}"


def test_the_pages_name_only_tests_that_exist():
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    named = {
        (page.name, name)
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for name in re.findall(r"`(?:tests/[a-z_/]+/)?(test_\w+(?:\.py)?)`", page.read_text())
    }
    assert len(named) > 200, "the search finds no names any more"
    assert sorted(each for each in named if each[1] not in names_of_tests() | files) == []


def test_every_rule_of_the_protocol_is_held_by_a_test():
    assert [number for number, names in protocol_rules() if not names] == []


def test_rules_are_numbered_without_gaps_or_repetitions():
    seen: dict[str, list[int]] = {}
    for number, _ in protocol_rules():
        seen.setdefault(number[0], []).append(int(number[1:]))
    assert seen, "docs/protocol.md has no rules"
    for letter, numbers in seen.items():
        assert numbers == list(range(1, len(numbers) + 1)), f"{letter}: {numbers}"


@pytest.mark.parametrize("section", ["B", "L", "Q", "E", "S", "N", "R", "V", "P", "A"])
def test_every_section_of_the_protocol_has_rules(section: str):
    assert any(number.startswith(section) for number, _ in protocol_rules())


def test_every_bench_is_listed_with_what_it_prints():
    page = (ROOT / "bench" / "README.md").read_text()
    run_by_make = set(re.findall(r"^\| `bench/([a-z_]+)\.py` ", page, re.MULTILINE))
    benches = [path for path in (ROOT / "bench").glob("*.py") if "__main__" in path.read_text()]
    assert run_by_make <= {path.stem for path in benches}
    # Some are started by another one and want arguments: those are explained below the table.
    unexplained = [path.name for path in benches if path in tracked_files() and f"`bench/{path.name}`" not in page]
    assert not unexplained


def test_tests_with_real_daemons_lie_in_their_folder_and_say_so():
    """`make test` runs the rest first, many at once, and then these."""
    mark = re.compile(r"^pytestmark = .*\bpytest\.mark\.processes\b", re.MULTILINE)
    own = sorted((ROOT / "tests" / "processes").glob("test_*.py"))
    assert [path.name for path in own if not mark.search(path.read_text())] == []
    others = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent.name != "processes"]
    assert [
        path.name for path in others if re.search(r"@pytest\.mark\.processes|^pytestmark.*processes", path.read_text())
    ] == []
