"""What a package says of itself: its description, and addresses where it has one.

The description is the README. Where the environment variable PROJECT_URL holds the address of the
project at a code host, links and pictures of the README become absolute and the package names its
addresses; without it there is no address to name, and what leads into a checkout is left out.
"""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE = "PROJECT_URL"
# A picture with the lines behind it, or a link, neither of which is absolute.
PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:|#)([^)]+)\)(\n*)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")
ADDRESSES = {
    "Homepage": "{base}",
    "Documentation": "{base}/blob/HEAD/docs/index.md",
    "Changelog": "{base}/blob/HEAD/docs/changelog.md",
    "Issues": "{base}/issues",
}


class AddressesHook(MetadataHookInterface):
    """Called by hatchling for the sdist, and for a wheel or an editable installation of a tree."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in `readme` and `urls`.

        Raises:
            ValueError: PROJECT_URL is no address.
        """
        base = project_url(os.environ.get(VARIABLE, ""))
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": description(text, base)}
        urls = {name: form.format(base=base) for name, form in ADDRESSES.items()}
        metadata["urls"] = urls if base else {}


def project_url(given: str) -> str:
    """Give the address without a slash at its end; empty for none.

    Raises:
        ValueError: It is no address that everybody may read.
    """
    base = given.strip().rstrip("/")
    parts = urlsplit(base)
    sound = (
        parts.scheme in {"http", "https"} and parts.hostname and not re.search(r"[\s<>\"]", base)
    )
    if base and (not sound or "@" in parts.netloc or parts.query or parts.fragment):
        raise ValueError(
            f"{VARIABLE} is no address of a project: {given!r}; "
            "give one such as https://code.example/fleet/mosaico-bridge"
        )
    return base


def description(readme: str, base: str) -> str:
    """Give the README as it can be read away from the checkout."""
    if base:
        readme = PICTURE.sub(rf"![\1]({base}/raw/HEAD/\2)\3", readme)
        return LINK.sub(rf"[\1]({base}/blob/HEAD/\2)", readme)
    return LINK.sub(r"\1", PICTURE.sub("", readme))
