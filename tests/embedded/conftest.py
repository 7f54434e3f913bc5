"""What the tests of the server share."""

from pathlib import Path

import pytest

from tests.certificates import authority


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a self-signed certificate for this machine and its key, as PEM files."""
    made = authority(tmp_path_factory.mktemp("tls"), "localhost")
    return made.file, made.key_file
