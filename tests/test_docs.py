"""The documents say what is: commands, options, settings, states, links and examples."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bridge.cli import app, write_drive
from bridge.config import Settings
from bridge.daemon import MEANING
from bridge.embedded import EmbeddedServer
from bridge.errors import Trouble

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
START_NS = 1_700_000_000_000_000_000
SECONDS_OF_DRIVE = 1.0


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def page_id(page: Path) -> str:
    return page.name


def commands() -> dict[str, Any]:
    """Give every command by its full name, such as `config show`."""
    found: dict[str, Any] = {}

    def walk(prefix: str, command: Any) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[prefix] = command
        else:
            for name, below in inner.items():
                walk(f"{prefix} {name}".strip(), below)

    walk("", typer.main.get_command(app))
    return found


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name[:2] == "--"}


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    """Files and headings that a page links to exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_document_can_be_found() -> None:
    """A reader who starts at the README gets to every file in docs by links."""
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        seen.add(page)
        if page.suffix == ".md":
            targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", text(page))
            linked = {(page.parent / target).resolve() for target in targets if "://" not in target}
            ahead += linked - seen
    assert {file for file in DOCS.rglob("*") if file.is_file()} <= seen


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every page and anchor is found, all pages are in the navigation, nothing comes from afar."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in DOCS.glob("*.md"):
        site = tmp_path / ("" if page.stem == "index" else page.stem) / "index.html"
        loaded = re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=.?(https?://[^\s>]+)", text(site)
        )
        assert not loaded, page
        assert {f'id="{anchor}"' for anchor in anchors(page)} <= set(
            re.findall(r'id="[^"]*"', text(site))
        ), page


def test_every_command_and_option_is_described() -> None:
    """The page of commands has a section for each, which names each of its options."""
    sections = dict(re.findall(r"^## (.+)\n([^#]*)", text(DOCS / "commands.md"), re.MULTILINE))
    assert list(sections) == [*commands(), "Exit codes"]
    for name, command in commands().items():
        named = set(re.findall(r"`(--[a-z-]+)", sections[name]))
        assert named == options(command), name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_command_lines_can_be_typed(page: Path) -> None:
    """Every `mosaico-bridge ...` in a document names a command, and options that it has."""
    known = commands()
    for line in re.findall(r"mosaico-bridge ([a-z].*?)(?:`|  #|\n|$)", _code(text(page))):
        words = line.split()
        name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known), None)
        if name is None and any(full.startswith(f"{words[0]} ") for full in known):
            continue
        assert name is not None, line
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= options(known[name]) | {"--help"}, line


def _code(markdown: str) -> str:
    """Give what stands in code blocks of a shell and in code spans that start with the command."""
    blocks = re.findall(r"```(?:console|sh)\n(.*?)```", markdown, re.DOTALL)
    spans = re.findall(r"`(mosaico-bridge [^`]+)`", markdown)
    lines = [line for block in blocks for line in block.splitlines()]
    starts = [re.sub(r"^(sudo )?(\S*/)?(?=mosaico-bridge )", "", line) for line in lines]
    return "\n".join([*(line for line in starts if line.startswith("mosaico-bridge ")), *spans])


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_settings_that_are_named_exist(page: Path) -> None:
    """A dotted name of a setting in a text is a setting."""
    for section, key in re.findall(r"`([a-z]+)\.([a-z_]+)(?: = [^`]*)?`", text(page)):
        field = Settings.model_fields.get(section)
        known = getattr(field.annotation, "model_fields", None) if field is not None else None
        if known is not None:
            assert key in known, f"{section}.{key}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    """What a document tells people to make can be made."""
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text(page), re.MULTILINE)) <= targets


def test_states_and_kinds_of_trouble_are_those_of_the_code() -> None:
    """The page of concepts has the same states with the same meanings, and every kind."""
    page = text(DOCS / "concepts.md")
    table = page.partition("## Where a recording can stand")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)) == {
        str(state): meaning for state, meaning in MEANING.items()
    }
    kinds = re.findall(r"^\| (\w+) \|", page.partition("## Kinds of trouble")[2], re.MULTILINE)
    assert set(kinds) - {"kind"} == {str(trouble) for trouble in Trouble}


@pytest.mark.parametrize("page", [DOCS / "architecture.md", DOCS / "contributing.md"], ids=page_id)
def test_places_that_are_named_exist(page: Path) -> None:
    """A file or folder that the page names is there, from the root or in the package."""
    prose = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    named = re.findall(r"`([\w./-]+(?:/|\.(?:py|md|toml|yml|html|js)))(?:::\w+)?`", prose)
    assert named
    for place in named:
        places = (ROOT / place, ROOT / "bridge" / place)
        assert any(found.exists() for found in places), place


def test_parts_and_rooms_are_drawn() -> None:
    """The picture and the table of the architecture have every part, the picture every room."""
    page = text(DOCS / "architecture.md")
    picture = page.split("```")[1]
    parts = {
        file.stem
        for file in (ROOT / "bridge").iterdir()
        if not file.stem.startswith("__") and file.suffix in {"", ".py"}
    }
    rooms = {file.parent.name for file in (ROOT / "bridge").glob("*/*/__init__.py")}
    assert parts | rooms <= set(re.findall(r"[a-z]\w+", picture))
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert listed == parts - {"version"}


def test_every_dependency_is_accounted_for() -> None:
    """The architecture says of each library that is installed what it is for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[<>=;]", each)[0].strip() for each in project["dependencies"]}
    cells = re.findall(r"^\| ([^|`]+) \|", text(DOCS / "architecture.md"), re.MULTILINE)
    assert needed <= {name for cell in cells for name in cell.split(", ")}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_lines_fit_a_screen(page: Path) -> None:
    """Lines of text have less than 130 characters; rows of tables cannot be broken."""
    prose = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    long = [line for line in prose.splitlines() if len(line) >= 130 and not line.startswith("|")]
    assert not long or page.name == "configuration.md"  # which a command writes


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_documents_are_about_the_product(page: Path) -> None:
    """No path of a developer's machine, no marker of unfinished work."""
    assert not re.search(
        r"(?<!\w)/work/|/tmp/|/root/|/home/|\bTODO\b|\bTBD\b|\bFIXME\b", text(page)
    )


@pytest.fixture(scope="module")
def filled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A platform on which a short drive has arrived."""
    folder = tmp_path_factory.mktemp("docs")
    bag = write_drive(folder, name="drive", start_ns=START_NS, duration_s=SECONDS_OF_DRIVE)
    with EmbeddedServer(folder / "server") as server:
        target = ("--host", "127.0.0.1", "--port", str(server.port), "--state", str(folder / "s"))
        command = [sys.executable, "-m", "bridge", "ingest", str(bag), *target]
        subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=ROOT)
        yield server


@pytest.mark.parametrize("name", ["README.md", "docs/getting-started.md"])
def test_examples_run(
    name: str, filled_server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python of the first pages runs as it stands, but for the port."""
    blocks = re.findall(r"```python\n(.*?)```", text(ROOT / name), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block.replace("6726", str(filled_server.port)), name, "exec"), {})
    assert re.search(r"^drive_\w+ ", capsys.readouterr().out)
