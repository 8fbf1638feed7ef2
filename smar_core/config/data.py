"""Sections of the data stages."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from smar_core.config.section import Count, Positive, Section, Seed, Share

BeamRunner = Literal["embedded", "flink", "spark", "dataflow", "portable"]

_OPTION = re.compile(r"--([A-Za-z]\w*)(?:=|$)")
_NEEDED_OPTIONS: Mapping[BeamRunner, Mapping[str, str]] = {
    "embedded": {},
    "flink": {
        "flink_master": "--flink_master=HOST:8081",
        "flink_job_server_jar": "--flink_job_server_jar=/path/to/the.jar, since Beam would download it",
    },
    "spark": {"job_endpoint": "--job_endpoint=HOST:8099, the address of Beam's job server for Spark"},
    "dataflow": {
        "project": "--project=ID",
        "region": "--region=NAME",
        "temp_location": "--temp_location=gs://BUCKET/FOLDER",
        "sdk_container_image": "--sdk_container_image=IMAGE, this program's own, since its code runs in the workers",
    },
    "portable": {"job_endpoint": "--job_endpoint=HOST:8099, the address of a Beam job server"},
}
_ADDRESSES: Mapping[str, re.Pattern[str]] = {
    "flink_master": re.compile(r"(?:https?://)?([\w.-]+):(\d+)/?"),
    "job_endpoint": re.compile(r"([\w.-]+):(\d+)"),
}
_SET_BY_US = ("runner", "streaming", "flink_submit_uber_jar", "direct_num_workers", "direct_running_mode")
_SECRETS = ("s3_access_key_id", "s3_secret_access_key", "s3_session_token", "azure_connection_string")


class PrepareConfig(Section):
    """Data preparation: cleaning, images, splits, tokenizer."""

    image_width_px: Positive = Field(48, description="width to which every picture is letterboxed")
    image_height_px: Positive = Field(64, description="height to which every picture is letterboxed")
    max_views: Positive = Field(3, description="pictures of an item that are kept, in the order in which they are listed")
    vocab_size: Annotated[int, Field(ge=64)] = Field(8000, description="largest size of the WordPiece vocabulary")
    test_share: Share = Field(0.1, description="last share of the log's time span that becomes the test days")
    validation_share: Share = Field(0.1, description="share of the time span before the test days")
    crawler_max_events: Positive = Field(100, description="a session with more events than this may be a crawler ...")
    crawler_min_click_rate: Share = Field(0.8, description="... and is one when its click rate is above this")
    max_reject_share: Share = Field(0.05, description="share of unusable rows, or of broken pictures, that fails the stage")
    num_shards: Positive = Field(8, description="files a table is written to")

    @model_validator(mode="after")
    def _check_split(self) -> "PrepareConfig":
        if self.test_share <= 0 or self.validation_share <= 0 or self.test_share + self.validation_share >= 1:
            raise ValueError(
                f"test_share ({self.test_share}) and validation_share ({self.validation_share}) must both be above 0 and "
                "leave something for training: choose two that add up to less than 1"
            )
        return self


class SyntheticConfig(Section):
    """Synthetic queries by Random Substring Retrieval."""

    ratio: Annotated[float, Field(ge=0)] = Field(100.0, description="synthetic queries a distinct true training query")
    sampling: Literal["uniform", "matched"] = Field(
        "uniform", description="lengths and places drawn evenly, or by the lengths and fields of the true training queries"
    )
    max_words: Positive = Field(6, description="longest synthetic query, in words")
    max_item_share: Share = Field(0.002, description="a query that fits more than this share of the items is redrawn")
    max_redraws: Count = Field(8, description="draws after the first before an item gives a query up")
    num_shards: Positive = Field(8, description="files a table is written to")
    seed: Seed = 0


class BeamConfig(Section):
    """How the data stages run on Beam; their tables do not depend on it."""

    runner: BeamRunner = Field(
        "embedded",
        description="embedded: in this stage's process or in num_workers others beside it; otherwise where Beam sends the work",
    )
    num_workers: Positive = Field(2, description="worker processes of the embedded runner")
    options: tuple[str, ...] = Field(
        (), description="options of another runner as Beam's command line takes them, for example --flink_master=host:8081"
    )
    shared_folder: str | None = Field(
        None,
        description="folder that the stage and the workers of another runner both read and write: a URI, or a path on a volume "
        "that is mounted there in all of them",
    )

    @model_validator(mode="after")
    def _check_runner(self) -> "BeamConfig":
        for name in ("options", "shared_folder"):
            value = getattr(self, name)
            if value and self.runner == "embedded":
                raise ValueError(f"{name} ({value}) plays no part with runner embedded: leave {name} out, or set runner")
        if self.runner != "embedded" and self.shared_folder is None:
            raise ValueError(
                f"runner {self.runner} needs shared_folder (None), through which workers hand over what they write: name a URI, "
                "or a path on a volume that stage and workers mount at the same place"
            )
        return self

    @field_validator("shared_folder")
    @classmethod
    def _check_shared_folder(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/") and "://" not in value:
            raise ValueError(f"shared_folder ({value}) is relative: name a URI, or a path from the root")
        if value is not None and re.search(r"://[^/]*:[^/]*@", value):
            raise ValueError("shared_folder has a password in it: take it out, and give it as an environment variable")
        return value

    @model_validator(mode="after")
    def _check_options(self) -> "BeamConfig":
        given = [_name_option(option) for option in self.options]
        for name in given:
            if name in _SET_BY_US:
                raise ValueError(f"options has --{name}, which follows from runner ({self.runner}): leave it out")
            if name in _SECRETS:
                raise ValueError(
                    f"options has --{name}, a secret, and the configuration is kept with every run: take it out, and give stage "
                    "and workers an environment variable from a Secret"
                )
        for name, example in _NEEDED_OPTIONS[self.runner].items():
            if name not in given:
                raise ValueError(f"runner {self.runner} needs an option that options {list(self.options)} has not: add {example}")
        self.addresses()
        return self

    def addresses(self) -> dict[str, tuple[str, int]]:
        """Return host and port of who takes the pipeline, by the option that names it; none for Dataflow.

        >>> BeamConfig(runner="portable", options=("--job_endpoint=host:8099",), shared_folder="/mnt").addresses()
        {'job_endpoint': ('host', 8099)}
        """
        found = {}
        for name, pattern in _ADDRESSES.items():
            value = self.option(name)
            if value is not None:
                match = pattern.fullmatch(value)
                if match is None:
                    raise ValueError(f"options has --{name}={value}, which is no address: write HOST:PORT")
                found[name] = match[1], int(match[2])
        return found

    def option(self, name: str) -> str | None:
        """Return the value of one of the options, None if it is not given; of several, the last."""
        values = [option.partition("=")[2] for option in self.options if _name_option(option) == name]
        return values[-1] if values else None


def _name_option(option: str) -> str:
    match = _OPTION.match(option)
    if match is None:
        raise ValueError(f"options has {option!r}, which is no option of a command line: write --name=value, or --name")
    return match[1]
