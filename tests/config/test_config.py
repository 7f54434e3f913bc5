"""Settings: sources, strictness, and that the shipped file and page say what the code does."""

from pathlib import Path

import pytest

from bridge.cli import annotated_toml, reference_page
from bridge.config import Settings, api_key, load_settings
from bridge.errors import ConfigError

ROOT = Path(__file__).parents[2]


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "bridge.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_shipped_file_holds_exactly_the_defaults() -> None:
    """Somebody who copies config/bridge.toml unchanged gets what they had without a file."""
    assert load_settings(ROOT / "config" / "bridge.toml").model_dump() == Settings().model_dump()


def test_shipped_file_and_page_are_made_from_the_code() -> None:
    """No setting is missing from the file or the page, and none has another meaning there."""
    assert (ROOT / "config" / "bridge.toml").read_text(encoding="utf-8") == annotated_toml()
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == reference_page()


def test_sources_override_each_other_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Command line beats environment beats file beats default, key by key."""
    file = write(tmp_path, '[server]\nhost = "file"\nport = 1\ntimeout_s = 9.0\n')
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVER__HOST", "environment")
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVER__PORT", "2")
    server = load_settings(file, {"server.host": "line", "server.tls": None}).server

    assert (server.host, server.port, server.timeout_s, server.tls) == ("line", 2, 9.0, False)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[watch]\nfodler = "x"\n', "watch.fodler"),
        ("[wotch]\n", "wotch"),
        ("[server]\nport = 70000\n", "server.port"),
        ('[ingest]\non_error = "explode"\n', "ingest.on_error"),
        ('[topics."/a"]\nmax_hz = -1.0\n', "topics./a.max_hz"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    """The error names the key, so that nobody has to look for it."""
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text))

    assert named in caught.value.message
    assert "bridge.toml" in caught.value.message


def test_a_file_that_cannot_be_read_or_parsed_is_an_error(tmp_path: Path) -> None:
    """A missing file is never taken for an empty one."""
    with pytest.raises(ConfigError, match="cannot read"):
        load_settings(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_settings(write(tmp_path, "[watch\n"))


def test_an_unknown_environment_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable does not silently leave the default in place."""
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVE__HOST", "x")
    with pytest.raises(ConfigError, match="MOSAICO_BRIDGE_SERVE__HOST"):
        load_settings()


def test_the_api_key_is_shown_nowhere(tmp_path: Path) -> None:
    """Neither the settings' text nor an error about them holds the secret."""
    settings = load_settings(write(tmp_path, '[server]\napi_key = "msco_secret"\n'))

    assert "msco_secret" not in repr(settings) + str(settings) + settings.model_dump_json()
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, '[server]\napi_key = ["msco_secret"]\n'))
    assert "msco_secret" not in str(caught.value.facts())


@pytest.mark.parametrize("key", ["state.folder", "disposal.archive_folder"])
def test_own_folders_may_not_lie_in_the_watched_one(tmp_path: Path, key: str) -> None:
    """The bridge never finds its own files as recordings."""
    with pytest.raises(ConfigError, match=key):
        load_settings(None, {"watch.folder": tmp_path, key: tmp_path / "inside"})


def test_the_key_comes_from_setting_file_or_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting wins over its file, the file over what the service manager passed."""
    (tmp_path / "api_key").write_text("from-credential\n", encoding="utf-8")
    (tmp_path / "key").write_text("from-file\n", encoding="utf-8")
    assert api_key(load_settings()) is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert api_key(load_settings()) == "from-credential"
    named = {"server.api_key_file": tmp_path / "key"}
    assert api_key(load_settings(None, named)) == "from-file"
    assert api_key(load_settings(None, {**named, "server.api_key": "direct"})) == "direct"
    with pytest.raises(ConfigError, match="missing"):
        api_key(load_settings(None, {"server.api_key_file": tmp_path / "missing"}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('host = "x"\n', "did you mean server.host or http.host?"),
        ('[topics."/a"]\nmaxhz = 1\n', "did you mean topics./a.max_hz?"),
        ('[uplink]\ntimetable = [{dyas = "mon"}]\n', "did you mean uplink.timetable.0.days?"),
        ('[folders.a]\npath = "x"\nwatch = {settl_s = 1}\n', "mean folders.a.watch.settle_s?"),
        ('[folders.a]\npath = "x"\ningest = {unit = "all"}\n', "folders.a.ingest.unit in"),
        ('[workers]\nmemory_limit_bytes = "2 GiB"\n', "of bytes, without the unit (it is"),
        ('[uplink]\nbytes_per_second_max = "fast"\n', "unit, or 'pause' (it is"),
        ("[retry]\nattempts_max = true\n", "should be a number (it is True)"),
        ("[retry]\nbackoff_max_s = 1e30\n", "should be at most 1,000,000,000 (it is"),
        ("[disposal]\nretain_days = 1e9\n", "should be at most 100,000"),
        ("[disposal]\nretain_count = 99999999999999999999\n", "should be at most 9,2"),
        ('[state]\nfolder = ""\n', "state.folder in"),
        ('[server]\ntls_ca_file = "a\\u0000b"\n', "should be a path"),
        ('[watch]\nignore = "*.tmp"\n', 'should be a list, as in ["a", "b"]'),
        ('[server]\nhost = "grpc://x"\n', "should be a host name or an address alone"),
        ('[server]\nhost = "x:6726"\n', "its port is a setting beside it"),
        ("[[watch]]\n", "should be a table"),
    ],
)  # fmt: skip
def test_a_fault_says_what_is_allowed_or_meant(tmp_path: Path, text: str, said: str) -> None:
    """In words of the file, not of the library, and as one fault for one key."""
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text))

    error = caught.value
    assert said in f"{error.message} {error.hint}"
    assert "bridge.toml, line " in error.message
    assert "pathlib" not in error.message
    assert ".literal[" not in error.message


@pytest.mark.parametrize(
    "key",
    ["server.api_key", "backfill.secret_key", "backfill.session_token", "backfill.account_key",
     "backfill.sas_token"],
)  # fmt: skip
@pytest.mark.parametrize("value", ['["geheim"]', '{a = "geheim"}'])
def test_a_wrong_secret_is_not_repeated(tmp_path: Path, key: str, value: str) -> None:
    """Whatever its key is called, and in whatever form it was written."""
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, f"{key} = {value}\n"))

    assert key in caught.value.message
    assert "geheim" not in f"{caught.value.facts()}"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SERVER", '{"api_key": "geheim"', "MOSAICO_BRIDGE_SERVER: should be JSON"),
        ("WATCH__IGNORE", "geheim,b", "MOSAICO_BRIDGE_WATCH__IGNORE: should be JSON"),
        ("SERVER_PORT", "1", "did you mean MOSAICO_BRIDGE_SERVER__PORT?"),
        ("SERVER__PROT", "1", "did you mean server.port?"),
        ("SERVER__PORT", "abc", "MOSAICO_BRIDGE_SERVER__PORT): should be a whole number"),
    ],
)
def test_wrong_variables_are_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    """A variable that cannot be read is an error of the operator, and keeps its value to itself."""
    monkeypatch.setenv(f"MOSAICO_BRIDGE_{variable}", value)
    with pytest.raises(ConfigError) as caught:
        load_settings()

    assert said in f"{caught.value.message} {caught.value.hint}"
    assert "geheim" not in f"{caught.value.facts()}"


def test_an_empty_path_or_secret_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Compose hands on a variable that is not set; the working folder is meant by nobody."""
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVER__TLS_CA_FILE", "")
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVER__API_KEY", "")
    settings = load_settings(overrides={"disposal.archive_folder": ""})

    assert settings.server.tls_ca_file is None
    assert settings.server.api_key is None
    assert settings.disposal.archive_folder is None


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_key_file_without_a_key_is_named(tmp_path: Path, content: bytes) -> None:
    """Instead of asking the platform without one."""
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=str(file)):
        api_key(load_settings(overrides={"server.api_key_file": file}))
