"""The same task under engines that are not ours, and stores that are not S3."""

import importlib.util
import os
import pickle
import re
import subprocess
import sys
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.backfill import Choice, Driver, Result, Task, Watch, child, dask_cluster, find, perform
from bridge.backfill.child import close_children
from bridge.backfill.store import Store
from bridge.config import BackfillSettings, Settings, load_settings
from bridge.daemon import Worker
from bridge.embedded import EmbeddedServer
from bridge.errors import CommandLineError, ConfigError, UnreadableStorageError
from tests.backfill.archives import ROOT, arrived, sequences, write_archive

SECRET = "c2VjcmV0IGtleSBvZiBhbiBhY2NvdW50"


def tasks_of(folder: Path, port: int, tmp_path: Path) -> list[Task]:
    """Plan an archive and give its tasks as an engine gets them."""
    overrides = {
        "server.host": "127.0.0.1",
        "server.port": port,
        "server.api_key": "key-of-the-platform",
        "state.folder": tmp_path / "state",
        "backfill.secret_key": SECRET,
        "backfill.access_key": "reader",
    }
    settings = load_settings(None, overrides)
    driver = Driver(settings, host="127.0.0.1", port=port)
    found = find(Choice(urls=(str(folder),)), settings)
    return [driver.task(plan) for plan in driver.plan(found.recordings) if plan.settled is None]


def test_a_task_travels_and_may_be_done_twice(tmp_path: Path) -> None:
    """It can be pickled, shows no secrets, and done again it leaves one sequence."""
    written = write_archive(tmp_path / "archive", 1)
    with EmbeddedServer(tmp_path / "platform") as server:
        (task,) = tasks_of(tmp_path / "archive", server.port, tmp_path)
        assert SECRET not in repr(task)
        assert "key-of-the-platform" not in repr(task)
        travelled: Task = pickle.loads(pickle.dumps(task))
        assert travelled.settings.backfill.secret_key == SecretStr(SECRET)
        assert perform(travelled).result is Result.SENT
        again = perform(travelled)
        close_children()
        assert again.result is Result.HELD
        assert SECRET not in repr(pickle.loads(pickle.dumps(again)))
        assert arrived(server.port) == written
        assert len(sequences(server.port)) == 1


def test_a_task_that_is_stopped_leaves_nothing_running(tmp_path: Path) -> None:
    """A stopped run tries nothing any more, and its outcome says so."""
    write_archive(tmp_path / "archive", 1)
    with EmbeddedServer(tmp_path / "platform") as server:
        (task,) = tasks_of(tmp_path / "archive", server.port, tmp_path)
        watch = Watch()
        watch.stopped.set()
        assert perform(task, watch).result is Result.NOT_TRIED
        assert sequences(server.port) == {}


def test_a_worker_that_cannot_start_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without program, memory or processes for it; neither recording nor scratch is at fault."""
    write_archive(tmp_path / "archive", 1)
    with EmbeddedServer(tmp_path / "platform") as server:
        (task,) = tasks_of(tmp_path / "archive", server.port, tmp_path)
        absent = partial(Worker, command=(str(tmp_path / "no-python"),))
        monkeypatch.setattr(child, "Worker", absent)
        close_children()
        outcome = perform(replace(task, settings=hurried(task.settings)))
    assert outcome.result is Result.FAILED
    assert "the worker does not start: No such file or directory" in outcome.reason
    assert "scratch" not in outcome.reason


def hurried(settings: Settings) -> Settings:
    retry = settings.retry.model_copy(update={"backoff_initial_s": 0.01, "backoff_max_s": 0.01})
    return settings.model_copy(update={"retry": retry})


def test_the_places_of_stores_are_read_from_their_urls() -> None:
    """Keys of each store lead back to URLs of the same form, with the account where it has one."""
    settings = BackfillSettings(
        endpoint="http://127.0.0.1:1", account_key=SecretStr(SECRET), anonymous=True
    )
    azure = Store("abfss://drives@fleet.dfs.core.windows.net/2024/", settings)
    assert azure.root == "drives/2024"
    assert azure.url_of("drives/2024/a.mcap") == (
        "abfss://drives@fleet.dfs.core.windows.net/2024/a.mcap"
    )
    for scheme in ("s3", "gs"):
        store = Store(f"{scheme}://bucket/2024", settings)
        assert store.root == "bucket/2024"
        assert store.url_of("bucket/2024/a.mcap") == f"{scheme}://bucket/2024/a.mcap"
    assert Store("/a/b/", settings).root == Store("file:///a/b", settings).root == "/a/b"


def test_what_a_store_says_is_shown_without_secrets() -> None:
    """An error of a store that repeats the key it was asked with does not pass it on."""
    settings = BackfillSettings(
        endpoint="http://127.0.0.1:1", access_key="a", secret_key=SecretStr(SECRET)
    )
    store = Store("s3://bucket/2024", settings)
    with pytest.raises(UnreadableStorageError) as raised, store.reading("s3://bucket/2024"):
        raise OSError(f"denied: signed with {SECRET}")
    shown = "".join(traceback.format_exception(raised.value))
    assert "denied: signed with ***" in shown
    assert f"signed with {SECRET}" not in str(raised.value.facts())
    assert shown.count(f"signed with {SECRET}") == 0


@pytest.mark.parametrize(
    ("setting", "secret", "repeated"),
    [
        ("account_key", "a+b/c==", "a%2Bb%2Fc%3D%3D"),
        ("account_key", "a+b/c==", "a%2Bb/c%3D%3D"),
        ("sas_token", "sv=2026&sig=x%2Fy%3D", "sig=x/y="),
        ("sas_token", "sv=2026&sig=x%2Fy%3D&se=9", "the signature x%2Fy%3D is none"),
    ],
)
def test_a_secret_is_known_in_every_form(setting: str, secret: str, repeated: str) -> None:
    """As part of an address it is quoted, and a token's signature is its secret."""
    settings = BackfillSettings.model_validate(
        {"endpoint": "http://127.0.0.1:1", setting: secret, "anonymous": True}
    )
    shown = Store("s3://bucket/2024", settings).blotted(f"denied: {repeated}")
    assert "***" in shown
    assert not any(part in shown for part in ("a+b", "a%2B", "x/y", "x%2Fy"))


@pytest.mark.parametrize(
    ("url", "settings", "error"),
    [
        ("ftp://host/x", BackfillSettings(), CommandLineError),
        ("s3://me:secret@bucket/x", BackfillSettings(), CommandLineError),
        ("s3://bucket/x?access_key=a&secret_key=secret@", BackfillSettings(), CommandLineError),
        ("abfss://c@a.dfs.x/y?se=1&sig=secret@", BackfillSettings(), CommandLineError),
        ("abfss://no-account/x", BackfillSettings(), CommandLineError),
        ("s3://bucket", BackfillSettings(access_key="only half"), ConfigError),
        ("s3://bucket", BackfillSettings(endpoint="host:9000"), ConfigError),
        ("s3://bucket", BackfillSettings(secret_key_file=Path("/none/at/all")), ConfigError),
    ],
)
def test_what_cannot_be_opened_is_refused(
    url: str, settings: BackfillSettings, error: type[Exception]
) -> None:
    """A URL or setting that cannot be meant ends the run with its name, before a store is asked."""
    with pytest.raises(error) as raised:
        Store(url, settings)
    assert "secret@" not in str(raised.value)


@pytest.mark.parametrize("address", ["scheduler", "foo://scheduler:8786", "tcp://"])
def test_what_is_no_address_of_a_scheduler_is_refused(address: str) -> None:
    """At once: the client of Dask takes a minute to give such an address up."""
    pytest.importorskip("distributed", reason="Dask is not installed")
    with (
        pytest.raises(CommandLineError, match=f"{address} is no address of a Dask scheduler"),
        dask_cluster(address, in_flight_max=1),
    ):
        raise AssertionError("there is no such cluster")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_the_recipe_for_ray_works(tmp_path: Path) -> None:
    """The lines of the documents put an archive onto the platform as they stand."""
    written = write_archive(tmp_path / "archive", 4)
    page = (ROOT / "docs" / "backfill.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```python\n(import ray.*?|from.*?import ray.*?)```", page, re.DOTALL)
    with EmbeddedServer(tmp_path / "platform") as server:
        (tmp_path / "bridge.toml").write_text(
            f'[server]\nhost = "127.0.0.1"\nport = {server.port}\n'
            f'[state]\nfolder = "{tmp_path}/state"\n'
        )
        done = subprocess.run(
            [sys.executable, "-c", recipe.replace("s3://drives/2024", str(tmp_path / "archive"))],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("sent ") == 4
        assert arrived(server.port) == written
