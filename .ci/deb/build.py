#!/usr/bin/env python3
"""Build a Debian package of a wheel: `python .ci/deb/build.py --wheel FILE --into dist`.

The interpreter and the libraries it needs are Debian's own, for either architecture, taken out of
their packages and put below /opt/mosaico-bridge, where CPython finds its library beside itself.
The dependencies are the wheels that `constraints.txt` names, by their hashes. What neither the
bridge nor a mapping of a user's can reach is left out. Of the target system only the C and C++
libraries, zlib and expat are used: the oldest that will do is that of Ubuntu 22.04 (glibc 2.35).

Takes root, and Debian's mmdebstrap, patchelf, binutils and binutils-aarch64-linux-gnu.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE.parent / "constraints.txt"
RELEASE = "bookworm"
PYTHON = "python3.11"
OPT = Path("opt/mosaico-bridge")
# A shared library that comes along -> the Debian package that it comes from.
LIBRARIES = {
    "libbz2.so.1.0": "libbz2-1.0",
    "libcrypto.so.3": "libssl3",
    "libffi.so.8": "libffi8",
    "liblzma.so.5": "liblzma5",
    "libsqlite3.so.0": "libsqlite3-0",
    "libssl.so.3": "libssl3",
    "libuuid.so.1": "libuuid1",
}
# Parts of Python's library that nothing of ours imports, as patterns below lib/python3.11.
PYTHON_UNUSED = (
    *("test", "ensurepip", "venv", "idlelib", "lib2to3", "tkinter", "turtle*", "distutils"),
    *("pydoc_data", "curses", "dbm", "xmlrpc", "sitecustomize.py", "EXTERNALLY-MANAGED"),
    *("_distutils_system_mod.py", "_sysconfigdata__linux_*", "*/_test*.so", "*/xx*.so"),
    *("*/_xx*.so", "*/_curses*.so", "*/_dbm.*.so", "*/nis.*.so", "*/readline.*.so"),
    *("*/_crypt.*.so", "*/ossaudiodev.*.so", "*/audioop.*.so", "*/_ctypes_test*.so"),
)
# The same below its packages: sources, headers and tests, and what of Arrow no part of ours calls.
# The readers of clouds stay: an archive may be there.
PACKAGES_UNUSED = (
    *("pyarrow/include", "pyarrow/src", "pyarrow/includes", "pyarrow/*.pxi", "pyarrow/**/*.px[id]"),
    *("pyarrow/**/*.pyx", "pyarrow/**/*.h", "pyarrow/libarrow_python*.so"),
    *("pyarrow/libarrow_python*.so.*.*.*", "pyarrow/_hdfs.*", "pyarrow/_pyarrow_cpp_tests.*"),
    *("pyarrow/libarrow_substrait.*", "pyarrow/_substrait.*", "pyarrow/substrait.py"),
    *("pyarrow/libarrow_dataset.*", "pyarrow/_dataset*", "pyarrow/dataset.py"),
    *("pyarrow/_orc.*", "pyarrow/orc.py", "pyarrow/cuda.py", "pyarrow/interchange"),
    *("pyarrow/*parquet_encryption*", "pyarrow/jvm.py", "pyarrow/cffi.py", "pyarrow/conftest.py"),
    *("numpy/f2py", "numpy/distutils", "numpy/_pyinstaller", "numpy/_core/include"),
    *("numpy/_core/lib", "numpy/random/lib", "numpy/random/_examples", "numpy/**/*.px[di]"),
    *("numpy/conftest.py", "numpy/_core/_*tests.*.so", "numpy/_core/_simd.*.so"),
    *("pygments*", "apsw/sqlite_extra_binaries", "**/tests", "**/*.pyi", "bin"),
)
# Linked by Arrow's Python library, which uses nothing of them.
NOT_CALLED = ("libarrow_substrait.so", "libarrow_dataset.so")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An architecture by the names that Debian, wheels and compilers have for it."""

    debian: str
    wheel: str
    triplet: str


MACHINES = {
    "amd64": Machine(debian="amd64", wheel="x86_64", triplet="x86_64-linux-gnu"),
    "arm64": Machine(debian="arm64", wheel="aarch64", triplet="aarch64-linux-gnu"),
}


def run(*command: str | Path, **variables: str) -> str:
    """Run a command that must succeed, and give what it printed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(  # noqa: S603 - our own words
        [*map(str, command)], env=clean | variables, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with {done.returncode}")
    return done.stdout


def size_mb(folder: Path) -> float:
    """Give what the files below a folder take, in MB."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files) / 1e6


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def this_machine() -> Machine:
    """Give the one that builds."""
    return MACHINES[run("dpkg", "--print-architecture").strip()]


def take_everything(machine: Machine, host: Path, root: Path, work: Path, wheel: Path) -> None:
    """Put Python, the locked packages and ours below a root, whole."""
    take_interpreter(machine, work, root)
    take_packages(machine, host, wheel, root / OPT / "lib" / PYTHON / "dist-packages")


def take_interpreter(machine: Machine, work: Path, root: Path) -> None:
    """Put Debian's Python and its libraries below a root."""
    source = work / f"debian-{machine.debian}"
    wanted = f"{PYTHON}-minimal,lib{PYTHON}-stdlib"
    run(
        *("mmdebstrap", "--quiet", "--variant=extract", f"--include={wanted}"),
        *(f"--architectures={machine.debian}", RELEASE, source),
    )
    target = root / OPT
    (target / "bin").mkdir(parents=True)
    shutil.copy(source / "usr/bin" / PYTHON, target / "bin")
    (target / "bin/python").symlink_to(PYTHON)
    shutil.copytree(source / "usr/lib" / PYTHON, target / "lib" / PYTHON, symlinks=True)
    folders = [source / base / machine.triplet for base in ("lib", "usr/lib")]
    licences = root / "usr/share/doc/mosaico-bridge/licences"
    licences.mkdir(parents=True)
    for name, package in {PYTHON: f"{PYTHON}-minimal", **LIBRARIES}.items():
        shutil.copy(source / "usr/share/doc" / package / "copyright", licences / package)
        for folder in folders:
            if (folder / name).exists():
                shutil.copy(folder / name, target / "lib" / name)
                run("patchelf", "--set-rpath", "$ORIGIN", target / "lib" / name)
    for file in (target / "lib" / PYTHON / "lib-dynload").glob("*.so"):
        run("patchelf", "--set-rpath", "$ORIGIN/../..", file)


def take_packages(machine: Machine, host: Path, wheel: Path, target: Path) -> None:
    """Install the locked wheels and our own for a machine, by the interpreter of this one."""
    # The oldest tags first: a wheel for an older C library than ours will do.
    platforms = [f"manylinux{tag}_{machine.wheel}" for tag in ("2014", "_2_17", "_2_27", "_2_28")]
    pip: tuple[str | Path, ...] = (
        *(host, "-m", "pip", "install", "--quiet", "--target", target, "--upgrade", "--no-deps"),
        *("--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=abi3"),
        *("--abi=none", "--only-binary=:all:", "--no-compile", "--no-warn-conflicts"),
        "--root-user-action=ignore",
        *(word for name in platforms for word in ("--platform", name)),
    )
    # This Python has no pip; that of the environment that runs us is pure Python.
    borrowed = {"PYTHONPATH": sysconfig.get_path("purelib")}
    run(*pip, "--require-hashes", "--requirement", LOCK, **borrowed)
    run(*pip, wheel, **borrowed)


def leave_out(base: Path, patterns: Iterable[str]) -> None:
    """Remove what matches, files and folders."""
    for pattern in patterns:
        for path in list(base.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def untie(machine: Machine, library: Path) -> None:
    """Take names for debuggers out, and ties of Arrow's libraries to those that nothing calls."""
    packages = library / "dist-packages"
    for file in packages.rglob("*.so*"):
        # Those that numpy's makers have patched do not survive it.
        if not file.relative_to(packages).parts[0].startswith("numpy"):
            run(f"{machine.triplet}-strip", "--strip-unneeded", file)
    for file in (packages / "pyarrow").glob("*.so*"):
        unused = [
            word
            for name in run("patchelf", "--print-needed", file).split()
            if name.startswith(NOT_CALLED)
            for word in ("--remove-needed", name)
        ]
        if unused:
            run("patchelf", *unused, file)


def put_script(target: Path) -> None:
    """Write the command: this Python without a user's own packages."""
    script = target / "bin/mosaico-bridge"
    script.write_text(
        f"#!/{OPT}/bin/python -s\nfrom bridge.cli import main\n\nmain()\n", encoding="utf-8"
    )
    script.chmod(0o755)


def put_shared_files(host: Path, root: Path, version: str) -> None:
    """Write all that is not below /opt, as the program itself says: units, pages, completion."""
    run(host, "-s", HERE / "files.py", root)
    document = root / "usr/share/doc/mosaico-bridge"
    shutil.copy(HERE / "copyright", document / "copyright")
    entry = f"mosaico-bridge ({version}) stable; urgency=medium\n\n  * See changelog.md.\n"
    with gzip.GzipFile(document / "changelog.gz", "wb", mtime=0) as stream:
        stream.write(entry.encode())
    program = root / "usr/bin/mosaico-bridge"
    program.parent.mkdir(parents=True)
    program.symlink_to(f"/{OPT}/bin/mosaico-bridge")


def homepage_of(wheel: Path) -> str:
    """Give the field that names the project's address; empty where the wheel has none."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(name).decode()).get_all("Project-URL", [])
    named = dict(one.split(", ", 1) for one in told)
    return f"Homepage: {named['Homepage']}\n" if "Homepage" in named else ""


def put_control(machine: Machine, root: Path, version: str, homepage: str) -> None:
    """Write what dpkg wants to know."""
    control = root / "DEBIAN"
    control.mkdir()
    text = (HERE / "control").read_text(encoding="utf-8")
    size_kb = int(size_mb(root) * 1e3 / 1.024)
    filled = text.format(
        version=version, architecture=machine.debian, size_kb=size_kb, homepage=homepage
    )
    (control / "control").write_text(filled, encoding="utf-8")
    (control / "conffiles").write_text("/etc/mosaico-bridge/bridge.toml\n", encoding="utf-8")
    for name in ("preinst", "postinst", "prerm", "postrm"):
        shutil.copy(HERE / name, control / name)
        (control / name).chmod(0o755)


def build(machine: Machine, tools: Path, arguments: argparse.Namespace, work: Path) -> Path:
    """Build the package for one machine, and give its file."""
    version = arguments.wheel.name.split("-")[1]
    host = tools / OPT / "bin" / PYTHON
    root = work / f"root-{machine.debian}"
    if machine is this_machine():
        shutil.copytree(tools, root, symlinks=True)
    else:
        take_everything(machine, host, root, work, arguments.wheel)
    library = root / OPT / "lib" / PYTHON
    before_mb = size_mb(root / OPT)
    leave_out(library, PYTHON_UNUSED)
    leave_out(library / "dist-packages", PACKAGES_UNUSED)
    untie(machine, library)
    # Whoever runs a command cannot write here; a date in the file would differ in every build.
    quiet = ("-q", "--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/")
    run(host, "-m", "compileall", *quiet, library)
    say(f"{machine.debian}: {before_mb:.0f} MB, without what is not used {size_mb(root / OPT):.0f}")
    put_script(root / OPT)
    put_shared_files(host, root, version)
    put_control(machine, root, version, homepage_of(arguments.wheel))
    made = Path(arguments.into / f"mosaico-bridge_{version}_{machine.debian}.deb")
    run("dpkg-deb", "--root-owner-group", f"-Z{arguments.compression}", "--build", root, made)
    say(f"{made}: {made.stat().st_size / 1e6:.0f} MB")
    return made


def main() -> None:
    """Build for the machines that are asked for, by a Python of this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--architecture", choices=MACHINES, action="append")
    parser.add_argument("--compression", default="xz")
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        work.chmod(0o755)
        tools = work / "tools"
        host = tools / OPT / "bin" / PYTHON
        take_everything(this_machine(), host, tools, work, arguments.wheel)
        for name in arguments.architecture or MACHINES:
            build(MACHINES[name], tools, arguments, work)


if __name__ == "__main__":
    main()
