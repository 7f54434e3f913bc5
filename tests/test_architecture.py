"""The rules of the project that a program can check: layers, rooms, doors, sizes, no rows.

What they are for is in docs/architecture.md.
"""

import ast
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from bridge.cli.commands import COMMANDS

PACKAGE = Path(__file__).parent.parent / "bridge"
FILES = sorted(PACKAGE.rglob("*.py"))

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500
FOLDER_FILES_MAX = 20
FILES_MAX = 250
# What was added to the house since, each with the files it may have beyond those.
FILES_MAX_OF_ADDED = {"backfill": 12, "protobuf": 6, "quality": 6}
# A file below this with one importer is part of that importer, unless it is a kind of its own.
OWN_FILE_LINES_MIN = 100

# What each part may import from its siblings. Nothing else, so imports flow one way.
MAY_IMPORT: dict[str, set[str]] = {
    "version": set(),
    "units": set(),
    "errors": set(),
    "facade": set(),
    "model": {"errors"},
    "parallel": {"errors"},
    "config": {"facade", "units", "errors"},
    "ontology": {"units", "errors"},
    "files": {"errors"},
    "definitions": {"facade", "errors", "model"},
    "bags": {"facade", "units", "errors", "model", "files", "definitions"},
    "cdr": {"errors", "model", "definitions"},
    "mapping": {"facade", "units", "errors", "model", "ontology"},
    "quality": {"facade", "units", "errors", "model"},
    "protobuf": set(),
    "client": {"facade", "units", "errors", "parallel", "ontology", "protobuf", "version"},
    "embedded": {"units", "errors", "ontology", "protobuf", "client", "version"},
    "ingest": {
        "facade", "units", "errors", "model", "parallel", "files", "ontology", "definitions",
        "bags", "cdr", "mapping", "quality", "client", "version",
    },
    "compose": {
        "errors", "config", "model", "definitions", "bags", "mapping", "quality", "client",
        "ingest",
    },
    "daemon": {
        "facade", "units", "errors", "config", "model", "files", "parallel", "definitions", "bags",
        "quality", "client", "ingest", "compose", "version",
    },
    "backfill": {
        "units", "errors", "config", "model", "files", "bags", "mapping", "client", "ingest",
        "compose", "daemon", "version",
    },
    "cli": {
        "facade", "units", "errors", "config", "model", "files", "parallel", "definitions",
        "ontology", "bags", "cdr", "mapping", "quality", "client", "ingest", "compose", "daemon",
        "backfill", "embedded", "version",
    },
    "__main__": {"cli"},
    "__init__": {"client", "errors", "ontology", "version"},
}  # fmt: skip

# The rooms of a part, and what each may import of the others. Files beside the rooms are above
# them where the part is in WIRED_ON_TOP; elsewhere they may be on either side, without a cycle.
_WATCHING = {"journal", "events"}
ROOMS: dict[str, dict[str, set[str]]] = {
    "bags": {"mcap": set(), "sqlite": set(), "rosbag1": set()},
    "cli": {"check": set(), "demo": set()},
    "client": {"query": set()},
    "daemon": {
        "journal": set(),
        "events": {"journal"},
        "watch": _WATCHING,
        "uplink": _WATCHING,
        "work": _WATCHING | {"watch", "uplink"},
        "dispose": _WATCHING | {"watch", "uplink"},
        "observe": _WATCHING | {"watch", "uplink", "work", "dispose"},
    },
    "embedded": {"query": set(), "session": {"query"}},
    "protobuf": {"generated": set()},
}
# `daemon`, `loop`, `reload` and `wakeup` put the rooms to work; no room knows them.
WIRED_ON_TOP = {"daemon"}

# Small files with one importer or none that are files all the same, and why.
KINDS: dict[str, str] = {
    "daemon/work/job.py": "an entry: what the process of one recording runs",
    "mapping/api.py": "what plug-ins import; none of ours does",
}

# The only parts that may touch each third-party library.
DOORS: dict[str, set[str]] = {
    "apsw": {"backfill"},
    "backports": {"bags"},
    "distributed": {"backfill"},
    "google.protobuf": {"protobuf"},
    "isal": {"bags"},
    "lz4": {"bags"},
    "markdown_it": {"daemon"},
    "pyarrow.fs": {"backfill"},
    "pyarrow.flight": {"client", "embedded"},
    "pyarrow.parquet": {"embedded"},
    "rosbags": {"bags", "definitions", "cli"},
    "ruamel": {"bags", "mapping"},
    "watchdog": {"daemon"},
    "prometheus_client": {"daemon", "backfill"},
    "pydantic_settings": {"config"},
    "rich": {"cli"},
    "typer": {"cli"},
}

# Ways to turn columns into Python objects, one per row. They have no place on the hot path.
ROW_WISE = {"to_pylist", "from_pylist", "as_py", "from_pydict", "to_pydict", "iterrows", "tolist"}
HOT_PARTS = {"cdr", "mapping", "ontology", "quality", "ingest"}


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
        else:
            names |= loaded_later(node)
    return names


def loaded_later(node: ast.AST) -> set[str]:
    """Give the module that a call of `later` names."""
    match node:
        case ast.Call(func=ast.Name(id="later"), args=[ast.Constant(value=str(module))]):
            return {module}
    return set()


@cache
def module_of(file: Path) -> str:
    """Name a file as imports do."""
    steps = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(steps[:-1] if steps[-1] == "__init__" else steps)


@cache
def imports_of_ours() -> dict[str, set[str]]:
    """Give for each module those of the package it imports, typing-only imports counted."""
    modules = {module_of(file) for file in FILES}
    found: dict[str, set[str]] = {}
    for file in FILES:
        found[module_of(file)] = wanted = set()
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                # `from bridge.part import module` wants the module, not what the part offers.
                wanted |= inner & modules
                wanted |= set() if inner <= modules else {node.module}
        wanted &= modules - {module_of(file)}
    return found


def room_of(module: str) -> tuple[str, str]:
    """Name the part and the room of a module; a file beside the rooms has none."""
    _, part, room, *_ = [*module.split("."), "", ""]
    return part, room if room in ROOMS.get(part, {}) else ""


def small_files_with_one_importer() -> Iterator[str]:
    """Give files that are short and imported by one other or none.

    What a part offers is not among them, nor are commands, which are found by their names.
    """
    commands = {place.partition(":")[0] for place, _ in COMMANDS.values()}
    importers: dict[str, set[str]] = defaultdict(set)
    for module, imported in imports_of_ours().items():
        for name in imported:
            importers[name].add(module)
    for file in FILES:
        module = module_of(file)
        offered = f"bridge.{part_of(file)}" in importers[module] or file.parent == PACKAGE
        offered |= module in commands
        is_room = file.name == "__init__.py" and file.parent != PACKAGE
        lines = file.read_text(encoding="utf-8").count("\n")
        if lines < OWN_FILE_LINES_MIN and len(importers[module]) < 2 and not (offered or is_room):
            yield ids(file)


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


def test_rooms_are_entered_in_order() -> None:
    """A file imports only rooms of its part that come before its own, and no file above them."""
    for module, imported in imports_of_ours().items():
        part, room = room_of(module)
        for name in imported:
            other_part, other = room_of(name)
            if other_part != part or part not in ROOMS or not room or other == room:
                continue
            allowed = ROOMS[part][room] if other or part in WIRED_ON_TOP else {""}
            assert other in allowed, f"{module} may not import {name}"


def test_rooms_are_known() -> None:
    """The table of rooms names exactly the folders of code inside the parts."""
    folders = {
        (part.name, room.name)
        for part in PACKAGE.iterdir()
        if part.is_dir()
        for room in part.iterdir()
        if (room / "__init__.py").exists()
    }
    assert folders == {(part, room) for part, rooms in ROOMS.items() for room in rooms}


def test_imports_have_no_cycle() -> None:
    """No module imports itself by a detour, imports for typing counted."""
    try:
        TopologicalSorter(imports_of_ours()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_folders_can_be_known_by_heart() -> None:
    """No folder holds more files than a person can keep in mind, nor does the package."""
    for folder in {file.parent for file in FILES}:
        assert len(list(folder.glob("*.py"))) <= FOLDER_FILES_MAX, folder
    # A room's `__init__` is a line that says what the room is for.
    of_parts = Counter(part_of(file) for file in FILES if len(parsed(file).body) > 1)
    for part, files_max in FILES_MAX_OF_ADDED.items():
        assert of_parts.pop(part, 0) <= files_max, part
    assert of_parts.total() < FILES_MAX


def test_what_has_one_importer_is_part_of_it() -> None:
    """A short file with one importer is merged into it, or is listed as a kind of its own."""
    small = set(small_files_with_one_importer())
    of_a_kind = [pair for pair in itertools.product(small, KINDS) if fnmatchcase(*pair)]
    assert small - {file for file, _ in of_a_kind} == set(), "belongs to its only importer"
    assert set(KINDS) - {kind for _, kind in of_a_kind} == set(), "no such file any more"


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


LAZY = sorted(
    file.parent.name
    for file in PACKAGE.glob("*/__init__.py")
    if "on_first_use(" in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("part", LAZY)
def test_what_is_loaded_on_first_use_is_there(part: str) -> None:
    """A part offers what it lists, and no lazy name is that of a module, which would hide it."""
    offered = import_module(f"bridge.{part}")
    below = next(
        node for node in parsed(PACKAGE / part / "__init__.py").body if isinstance(node, ast.If)
    )
    lazy = {
        alias.asname or alias.name
        for node in below.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert lazy
    assert lazy <= set(offered.__all__)
    for name in offered.__all__:
        assert getattr(offered, name) is not None
    assert not lazy & {path.stem for path in (PACKAGE / part).iterdir()}
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = offered.nothing_such
