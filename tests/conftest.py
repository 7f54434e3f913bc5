"""Command line options of the test suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--mosaico-url",
        default="",
        help="Run the contract suite against this server (grpc://host:port) instead of ours.",
    )
