"""The rules of the project that a program can check: layers, doors, sizes, no rows in Python."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bridge"
FILES = sorted(PACKAGE.rglob("*.py"))

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500

# What each part may import from its siblings. Nothing else, so imports flow one way.
MAY_IMPORT: dict[str, set[str]] = {
    "version": set(),
    "units": set(),
    "errors": set(),
    "model": {"errors"},
    "config": {"units", "errors"},
    "ontology": {"units", "errors"},
    "files": {"errors"},
    "definitions": {"errors", "model"},
    "bags": {"units", "errors", "model", "files", "definitions"},
    "cdr": {"errors", "model", "definitions"},
    "mapping": {"units", "errors", "model", "ontology"},
    "client": {"units", "errors", "ontology", "version"},
    "embedded": {"units", "errors", "ontology", "client", "version"},
    "ingest": {
        "units", "errors", "model", "ontology", "definitions", "bags", "cdr", "mapping", "client",
        "version",
    },
    "compose": {
        "errors", "config", "model", "definitions", "bags", "mapping", "client", "ingest",
    },
    "daemon": {
        "units", "errors", "config", "model", "files", "definitions", "bags", "client", "ingest",
        "compose", "version",
    },
    "cli": {
        "units", "errors", "config", "model", "files", "definitions", "ontology", "bags", "cdr",
        "mapping", "client", "ingest", "compose", "daemon", "embedded", "version",
    },
    "__main__": {"cli"},
    "__init__": {"client", "errors", "ontology", "version"},
}  # fmt: skip

# The only parts that may touch each third-party library.
DOORS: dict[str, set[str]] = {
    "isal": {"bags"},
    "pyarrow.flight": {"client", "embedded"},
    "pyarrow.parquet": {"embedded"},
    "rosbags": {"bags", "definitions", "cli"},
    "ruamel": {"bags", "mapping"},
    "watchdog": {"daemon"},
    "prometheus_client": {"daemon"},
    "pydantic_settings": {"config"},
    "rich": {"cli"},
    "typer": {"cli"},
}

# Ways to turn columns into Python objects, one per row. They have no place on the hot path.
ROW_WISE = {"to_pylist", "from_pylist", "as_py", "from_pydict", "to_pydict", "iterrows", "tolist"}
HOT_PARTS = {"cdr", "mapping", "ontology", "ingest"}


def part_of(file: Path) -> str:
    """Name the part a file belongs to: its subpackage, or its own name at the top."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.Module) -> set[str]:
    """Collect every dotted name that a module imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def goes_past_init(name: str) -> bool:
    """Tell whether a dotted name reaches a module inside a part rather than what it offers."""
    steps = name.split(".")
    if len(steps) <= 2 or not (PACKAGE / steps[1]).is_dir():
        return False
    part, inner = PACKAGE / steps[1], steps[2]
    offered = ast.parse((part / "__init__.py").read_text(encoding="utf-8"))
    strings = {node.value for node in ast.walk(offered) if isinstance(node, ast.Constant)}
    return (part / f"{inner}.py").exists() and (inner not in strings or len(steps) > 3)


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def ids(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_file_imports_only_downwards(file: Path) -> None:
    """A file imports from the parts below it, through their __init__, and nothing else of ours."""
    part = part_of(file)
    for name in imports(parsed(file)):
        if name.split(".")[0] != "bridge":
            continue
        target = name.split(".")[1] if "." in name else ""
        assert target, "import from a part, never from the root package"
        if target != part:
            assert target in MAY_IMPORT[part], f"{part} may not import {target}"
            assert not goes_past_init(name), f"import {target} through its __init__"


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_file_enters_libraries_by_their_door(file: Path) -> None:
    """A third-party library is touched only in the parts that own it."""
    part = part_of(file)
    for name in imports(parsed(file)):
        for library, doors in DOORS.items():
            if name == library or name.startswith(f"{library}."):
                assert part in doors, f"{part} may not import {library}"


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_file_is_small_and_says_what_it_is_for(file: Path) -> None:
    """A file has a docstring and few lines; each of its functions fits a screen."""
    tree = parsed(file)
    assert ast.get_docstring(tree), "every module says what it is for"
    assert file.read_text(encoding="utf-8").count("\n") <= FILE_LINES_MAX
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} is {length} lines"


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) in HOT_PARTS], ids=ids)
def test_hot_path_has_no_rows(file: Path) -> None:
    """Between a block and the wire nothing turns a column into one Python object per row."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ROW_WISE, f"line {node.lineno}: {node.attr}"


def test_every_part_is_known() -> None:
    """The table of parts names exactly the parts that exist, and has no cycle."""
    assert {part_of(file) for file in FILES} <= set(MAY_IMPORT)
    placed: set[str] = set()
    while placed != set(MAY_IMPORT):
        ready = {part for part, below in MAY_IMPORT.items() if below <= placed} - placed
        assert ready, f"cycle among {set(MAY_IMPORT) - placed}"
        placed |= ready


def test_nothing_is_left_undone() -> None:
    """No file of the package carries a note that something is still to do."""
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        for mark in ("TODO", "FIXME", "XXX", "raise NotImplementedError"):
            assert mark not in text, f"{ids(file)}: {mark}"


def test_no_drawer_for_everything_else() -> None:
    """No file is named after not knowing where its content belongs."""
    drawers = {"utils", "helpers", "common", "base", "misc"}
    assert not {file.stem for file in FILES} & drawers
