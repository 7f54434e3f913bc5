"""Settings become what an ingest is told: every choice of the file arrives where it acts."""

from pathlib import Path

import pytest

from bridge.bags import ReadLimits
from bridge.compose import connect, ingest_options
from bridge.config import load_settings
from bridge.embedded import EmbeddedServer
from bridge.errors import ConfigError
from bridge.ingest import VerificationLevel

FILE = """
[ingest]
sequence_name = "{vehicle}_{start:%Y%m%d}"
topics = ["!/camera/debug/*"]
topic_prefix = "/front"
on_error = "report"
verification = "counts"
image_format = "png"

[topics."/lidar/*"]
ontology = "Lidar"
every_nth = 2

[topics."/camera/*"]
image_format = "raw"
rename = "eye"
metadata = { lens = "wide" }

[metadata]
vehicle = "car-07"

[[mappings]]
ros_type = "my_msgs/msg/Speed"
ontology = "Floating64"
fields = { data = "speed.value" }
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "bridge.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_choices_of_the_file_reach_the_ingest(tmp_path: Path) -> None:
    """Names, filters, per-topic choices, policies and custom mappings, one by one."""
    options = ingest_options(load_settings(written(tmp_path, FILE)), instance="me", attempt=3)
    lidar, camera = options.topic_options["/lidar/*"], options.topic_options["/camera/*"]

    assert options.sequence_name == "{vehicle}_{start:%Y%m%d}"
    assert tuple(options.topics) == ("!/camera/debug/*",)
    assert options.topic_prefix == "/front"
    assert options.on_error.value == "report"
    assert options.verification is VerificationLevel.COUNTS
    assert (lidar.ontology, lidar.every_nth, str(lidar.image_format)) == ("Lidar", 2, "png")
    assert (camera.rename, str(camera.image_format)) == ("eye", "raw")
    assert camera.metadata == {"lens": "wide"}
    assert str(options.default_topic_options.image_format) == "png"
    assert dict(options.metadata) == {"vehicle": "car-07"}
    assert len(options.custom_mappings) == 1
    assert (options.identity.instance, options.identity.attempt) == ("me", 3)


def test_what_waits_takes_a_small_part_of_a_small_memory(tmp_path: Path) -> None:
    """Who lowers a worker's limit need not know what else to lower."""
    text = "[workers]\nmemory_limit_bytes = 268435456\n[ingest]\nmemory_budget_bytes = {}\n"
    for budget_bytes, kept_bytes in ((50331648, 33554432), (1048576, 1048576)):
        settings = load_settings(written(tmp_path, text.format(budget_bytes)))
        assert ingest_options(settings).batches.memory_budget_bytes == kept_bytes


def test_what_decides_about_the_data_changes_the_hash(tmp_path: Path) -> None:
    """A sequence's metadata tells whether two were made by the same choices."""
    first = ingest_options(load_settings(written(tmp_path, FILE)))
    again = ingest_options(load_settings(written(tmp_path, FILE + '\n[log]\nlevel = "debug"\n')))
    other = ingest_options(load_settings(written(tmp_path, FILE.replace("car-07", "car-08"))))

    assert first.identity.config_hash == again.identity.config_hash
    assert first.identity.config_hash != other.identity.config_hash


def test_a_wrong_mapping_is_a_configuration_error(tmp_path: Path) -> None:
    """It is found before anything is sent, and named."""
    text = FILE.replace('ontology = "Floating64"', 'ontologie = "Floating64"')
    with pytest.raises(ConfigError, match="mappings"):
        ingest_options(load_settings(written(tmp_path, text)))


def test_limits_of_the_file_reach_the_reader(tmp_path: Path) -> None:
    """Every limit can be set under its own name; unset ones are those of the reader."""
    assert ingest_options(load_settings(written(tmp_path, ""))).reading == ReadLimits()
    text = """
        [reading]
        chunk_bytes_max = 2000000
        message_bytes_max = 3
        channels_max = 4
        definition_bytes_max = 5
    """
    assert ingest_options(load_settings(written(tmp_path, text))).reading == ReadLimits(
        chunk_bytes_max=2_000_000, message_bytes_max=3, channels_max=4, definition_bytes_max=5
    )


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("", "auto-lz4"),
        ('[server]\ncompression = "none"\n', ""),
        ('[server]\ncompression = "zstd"\n', "zstd"),
        ("[uplink]\nbytes_per_second_max = 1000\n", "auto-zstd"),
        ("[uplink]\nbytes_per_month_max = 1000\n", "auto-zstd"),
    ],
)
def test_bytes_that_cost_are_compressed_harder(text: str, sent: str, tmp_path: Path) -> None:
    """Automatic means lz4, or zstd where the uplink is limited; off by one setting."""
    settings = load_settings(written(tmp_path, text))
    with (
        EmbeddedServer(tmp_path / "platform") as server,
        connect(settings, "127.0.0.1", server.port) as client,
    ):
        assert client.compression.body == sent
