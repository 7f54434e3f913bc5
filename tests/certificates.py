"""Certificates for tests of TLS, made by the system's openssl; tests skip where there is none."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = ("-days", "2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    file: Path
    key_file: Path

    @property
    def pem(self) -> bytes:
        return self.file.read_bytes()

    @property
    def pair(self) -> tuple[bytes, bytes]:
        return self.pem, self.key_file.read_bytes()


def authority(folder: Path, name: str) -> Certificate:
    """Make a self-signed certificate for this machine, which may also sign others."""
    made = Certificate(file=folder / f"{name}.pem", key_file=folder / f"{name}.key")
    names = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-subj", f"/CN={name}")
    files = ("-keyout", made.key_file, "-out", made.file)
    _openssl("req", "-x509", *_NEW_KEY, *_DAYS, *names, *files)
    return made


def signed(folder: Path, name: str, by: Certificate) -> Certificate:
    """Make a certificate for a client, signed by an authority."""
    made = Certificate(file=folder / f"{name}.pem", key_file=folder / f"{name}.key")
    request, purpose = folder / f"{name}.csr", folder / f"{name}.ext"
    purpose.write_text("extendedKeyUsage=clientAuth\n", encoding="utf-8")
    _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", made.key_file, "-out", request)
    signing = ("-CA", by.file, "-CAkey", by.key_file, "-CAcreateserial", "-extfile", purpose)
    _openssl("x509", "-req", "-in", request, *_DAYS, *signing, "-out", made.file)
    return made


def _openssl(*arguments: str | Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed, so no certificate can be made")
    subprocess.run([program, *arguments], check=True, capture_output=True)
