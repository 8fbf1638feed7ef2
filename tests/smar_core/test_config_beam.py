"""Section ``beam``: a runner gets what it needs, and nothing that somebody else decides or nobody reads."""

import pytest

from smar_core.config import load_config
from smar_core.errors import UserError

PORTABLE = ("beam.runner=portable", "beam.shared_folder=s3://shop/exchange")


def test_the_default_runs_here() -> None:
    beam = load_config("demo").beam
    assert (beam.runner, beam.options, beam.shared_folder) == ("embedded", (), None)


def test_options_come_from_the_command_line() -> None:
    beam = load_config("demo", [*PORTABLE, "beam.options=[--job_endpoint=host:8099, --job_endpoint=other:8099, --debug]"]).beam
    assert beam.option("job_endpoint") == "other:8099"
    assert beam.option("debug") == "" and beam.option("parallelism") is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["beam.options=[--parallelism=4]"], "plays no part with runner embedded"),
        (["beam.shared_folder=/mnt/exchange"], "plays no part with runner embedded"),
        (["beam.runner=flink"], r"runner flink needs shared_folder \(None\)"),
        (["beam.runner=flink", "beam.shared_folder=exchange"], r"shared_folder \(exchange\) is relative"),
        (["beam.runner=flink", "beam.shared_folder=s3://me:word@shop"], "has a password in it"),
        (["beam.runner=flink", "beam.shared_folder=/mnt"], "add --flink_master=HOST:8081"),
        (["beam.runner=spark", "beam.shared_folder=/mnt"], "add --job_endpoint=HOST:8099"),
        (["beam.runner=dataflow", "beam.shared_folder=gs://shop"], "add --project=ID"),
        ([*PORTABLE], "add --job_endpoint=HOST:8099"),
        ([*PORTABLE, "beam.options=[--job_endpoint=embed]"], "is no address; write HOST:PORT"),
        ([*PORTABLE, "beam.options=[--job_endpoint=host:8099, parallelism=4]"], "no option of a command line"),
        ([*PORTABLE, "beam.options=[--job_endpoint=host:8099, --runner=FlinkRunner]"], r"follows from runner \(portable\)"),
        ([*PORTABLE, "beam.options=[--job_endpoint=host:8099, --s3_secret_access_key=word]"], "a secret"),
        ([*PORTABLE, "beam.options=[--job_endpoint=host:8099]", "beam.num_workers=4"], "plays no part in beam.runner portable"),
    ],
)
def test_what_does_not_fit_a_runner_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_config("demo", overrides)
