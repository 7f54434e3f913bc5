"""What the package offers at its top."""

import importlib
import subprocess
import sys

import pytest

import bridge
from tests.client.conftest import ROOT


@pytest.mark.parametrize("part", ["bridge.client", "bridge.ontology"])
def test_public_names_are_offered(part: str) -> None:
    """Everything that client and ontology offer is there, and is the same object."""
    module = importlib.import_module(part)
    assert module.__all__
    for name in module.__all__:
        assert getattr(bridge, name) is getattr(module, name)
        assert name in dir(bridge)


def test_errors_are_offered() -> None:
    """So are all errors, but nothing that their module merely imports."""
    assert issubclass(bridge.OfflineError, ConnectionError)
    assert "TransientError" in dir(bridge)
    assert "ClassVar" not in dir(bridge)
    with pytest.raises(AttributeError):
        _ = bridge.NoSuchThing


def test_importing_the_package_is_cheap() -> None:
    """Neither pyarrow nor numpy is loaded before something needs it."""
    program = (
        "import bridge, sys; print(bridge.__version__, *{'pyarrow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == [bridge.__version__]


def test_the_daemon_needs_no_pandas() -> None:
    """Where pandas is installed, an array of Arrow's made on import would load it: 30 MiB."""
    pytest.importorskip("pandas")
    program = "import sys, bridge.cli.run, bridge.daemon.work.main; print('pandas' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False"]
