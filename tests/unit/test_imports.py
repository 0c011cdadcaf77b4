"""The architecture as a test: imports point one way, outside things have one door, agreement knows integers only.

node → consensus → ledger, and node → fl. Nothing here runs the code: the files are read.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("ledger", "consensus", "fl", "node")

# What a package may import of ours.
MAY_IMPORT = {
    "ledger": {"ledger"},
    "consensus": {"consensus", "ledger"},
    "fl": {"fl"},
    "node": {"node", "consensus", "ledger", "fl"},
}
# What would let `ledger` and `consensus` send, sleep, read a clock, draw randomness or touch a disk.
IMPURE = {
    "asyncio",
    "datetime",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "plyvel",
    "random",
    "secrets",
    "shutil",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "trio",
    "urllib",
    "uuid",
}
# And what computes with floats.
FLOATING = {"numpy", "torch", "decimal", "fractions", "statistics", "cmath"}
# Of `math` agreement may use what makes integers of integers.
INTEGER_MATH = {"prod", "isqrt", "gcd", "lcm", "comb"}
# What computes with floats, or may.
FLOATING_CALLS = {"float", "round", "pow", "complex"}

Where = tuple[Path, int]


def files(*packages: str) -> list[Path]:
    found = [path for package in packages for path in sorted((REPOSITORY / package).rglob("*.py"))]
    assert len(found) > 5, f"no files in {packages}"
    return found


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file's syntax tree: each question here is asked of the same hundreds of files."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module a file names in an import, wherever in the file it stands."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: a relative import hides where it points"
            assert node.module is not None
            yield node.module, node.lineno


def importers(module: str) -> set[str]:
    """Files that import a top-level module."""
    return {name(path) for path in files(*PACKAGES) for named, _ in imports(path) if named.split(".")[0] == module}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str):
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in files(package)
        for module, line in imports(path)
        if module.split(".")[0] in PACKAGES and module.split(".")[0] not in MAY_IMPORT[package]
    ]
    assert not wrong


def test_no_package_of_ours_imports_the_tests():
    assert not importers("tests")


@pytest.mark.parametrize("package", ["ledger", "consensus"])
def test_agreement_neither_sends_nor_sleeps_nor_reads_a_clock_or_a_disk(package: str):
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in files(package)
        for module, line in imports(path)
        if module.split(".")[0] in IMPURE | FLOATING
    ]
    assert not wrong


def floats_in(path: Path) -> Iterator[str]:
    for node in nodes(path):
        where = f"{name(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield f"{where} writes {node.value}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield f"{where} divides with /"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Pow) and not _is_natural(node):
            yield f"{where} raises to a power that may be negative"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FLOATING_CALLS:
            yield f"{where} calls {node.func.id}"
        elif isinstance(node, ast.ImportFrom) and node.module == "math":
            yield from (f"{where} imports {each.name}" for each in node.names if each.name not in INTEGER_MATH)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "math" and node.attr not in INTEGER_MATH:
            yield f"{where} uses math.{node.attr}"


def _is_natural(node: ast.BinOp | ast.AugAssign) -> bool:
    exponent = node.right if isinstance(node, ast.BinOp) else node.value
    return isinstance(exponent, ast.Constant) and isinstance(exponent.value, int) and exponent.value >= 0


@pytest.mark.parametrize("package", ["ledger", "consensus"])
def test_what_nodes_agree_on_is_an_integer(package: str):
    assert not [found for path in files(package) for found in floats_in(path)]


def test_the_search_for_floats_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    planted = tmp_path / "planted.py"
    planted.write_text("a = 1.5\nb = 3 / 2\nb /= 2\nc = float('1')\nd = 2 ** -1\ne = math.sqrt(2)\n")
    with planted.open("a") as more:
        more.write("from math import log\ng = 2 ** 10\nh = 7 // 2\ni = math.isqrt(9)\n")
    monkeypatch.setattr(f"{__name__}.REPOSITORY", tmp_path)
    assert sorted(found.split(":")[1].split()[0] for found in floats_in(planted)) == [*"1234567"]


def test_no_rule_depends_on_the_order_of_a_set():
    """Python orders a set of bytes anew in every process: two members would write two states."""
    wrong = []
    for path in files("ledger", "consensus"):
        for node in nodes(path):
            looped = node.iter if isinstance(node, ast.For | ast.comprehension) else None
            if isinstance(looped, ast.Set | ast.SetComp) or (
                isinstance(looped, ast.Call)
                and isinstance(looped.func, ast.Name)
                and looped.func.id in {"set", "frozenset"}
            ):
                wrong.append(f"{name(path)}:{looped.lineno}")
    assert not wrong


# --- one file per outside thing


def test_one_file_opens_leveldb():
    assert importers("plyvel") == {"node/leveldb.py"}


def test_libp2p_stays_behind_its_own_files():
    found = importers("libp2p") | importers("multiaddr")
    assert found
    assert all(each.startswith("node/network/libp2p_") for each in found), sorted(found)


def test_torch_is_for_learning_and_for_processes_that_train():
    found = {each for each in importers("torch") if not each.startswith("fl/")}
    # The trainer's child, and the centralised model that a league on one machine is compared with.
    assert found <= {"node/worker.py", "node/devnet/comparing.py"}, sorted(found)


WITHOUT_TORCH = (
    "node.daemon",
    "node.member",
    "node.cli.main",
    "node.sim",
    "node.simulation.run",
    "fl.aggregate",
    "fl.fixed_point",
)


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_who_does_not_train_never_loads_torch(module: str):
    """A node verifies an aggregate without it (DESIGN D4), and stays small: 150 MB would be impossible with it."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_a_node_answers_before_it_loads_what_it_answers_with():
    """The local interface is there within a second; numpy, libp2p and the parts that need them come after it."""
    code = "import sys, node.daemon; sys.exit(any(late in sys.modules for late in ('numpy', 'libp2p', 'node.member')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


UNUSED_OF_LIBP2P = ("aioquic", "zeroconf", "requests", "httpx", "trio_websocket", "libp2p.host.basic_host")


def test_a_node_loads_the_pieces_of_libp2p_that_it_uses_and_no_more():
    code = (
        "import sys, node.network.libp2p_host\n"
        f"found = [each for each in {UNUSED_OF_LIBP2P} if each in sys.modules]\n"
        "sys.exit(f'{found} of {len(sys.modules)} modules' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_that_has_the_whole_of_libp2p_keeps_it():
    code = "import libp2p, node.network.libp2p_host; libp2p.new_host"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
