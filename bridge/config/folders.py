"""Several watched folders: what each sets otherwise than the main tables, laid over them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from bridge.config.sections import Section

OVERRIDABLE = ("watch", "ingest", "topics", "metadata", "disposal")
"""The tables that a folder may set keys of."""


class FolderSettings(Section):
    """One watched folder; what it does not set is as in the main tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(description="The folder.")
    watch: dict[str, Any] = Field(
        default_factory=dict, description="Keys of [watch] but `folder` that differ here."
    )
    ingest: dict[str, Any] = Field(
        default_factory=dict, description="Keys of [ingest] that differ here."
    )
    topics: dict[str, Any] = Field(
        default_factory=dict, description="Patterns of [topics] that are added or differ here."
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Keys of [metadata] that are added or differ here."
    )
    disposal: dict[str, Any] = Field(
        default_factory=dict, description="Keys of [disposal] that differ here."
    )


def laid_over(main: Mapping[str, Any], folder: FolderSettings) -> dict[str, Any]:
    """Give all settings as they hold in one folder, as plain values.

    Args:
        main: The main tables, as plain values.
        folder: What differs.

    Raises:
        ValueError: The folder sets `watch.folder` beside its path.
    """
    if "folder" in folder.watch:
        raise ValueError("watch.folder is what `path` says; leave it out")
    over = {name: getattr(folder, name) for name in OVERRIDABLE}
    over["watch"] = {**folder.watch, "folder": folder.path}
    laid = {name: {**main[name], **over[name]} for name in OVERRIDABLE}
    # Of topic patterns the first that matches decides, so the folder's own go first.
    laid["topics"] = {**over["topics"], **main["topics"], **over["topics"]}
    return {**main, **laid, "folders": {}}


def overlap(folders: Mapping[str, Path]) -> str:
    """Say which two folders lie in each other; empty where none do."""
    names = sorted(folders)
    for name in names:
        for other in names:
            inner, outer = folders[name].absolute(), folders[other].absolute()
            if name != other and inner.is_relative_to(outer):
                return f"folders.{name} = {inner} lies in folders.{other} = {outer}"
    return ""
