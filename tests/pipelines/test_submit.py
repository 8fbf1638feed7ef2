"""``smar submit``: Kubeflow's own client against a server that speaks its API, on this machine."""

import datetime
import ipaddress
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipelines import kubeflow
from pipelines.cli import invoke
from pipelines.compile import compile_pipeline, compiled, version_of
from pipelines.placement import EXIT_HANDLER, PROMOTION
from pipelines.remote_inputs import Inputs
from pipelines.submit import check_image
from pipelines.training_run import pipeline_arguments
from smar_core.config import ClusterConfig, load_config
from smar_core.data.sources import Sources
from smar_core.errors import UserError
from tests.pipelines.compiled_tasks import all_tasks
from tests.pipelines.kubeflow_stub import Backend, serve

IMAGE = "registry.example/smar@sha256:" + "0" * 64
INPUTS = ("--items", "s3://shop/items", "--clicks", "s3://shop/clicks", "--digest", "items=1", "--digest", "clicks=1")


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def host(backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """URL of a Kubeflow; Kubeflow's client finds no settings of the person who runs the tests."""
    monkeypatch.setattr(kubeflow.kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "kfp" / "context.json"))
    monkeypatch.setattr(kubeflow, "_POLL_SECONDS", 0.01)
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with serve(backend) as url:
        yield url


Submit = Callable[..., int]


@pytest.fixture
def submit(host: str) -> Submit:
    def submit(pipeline: str, *more: str, inputs: tuple[str, ...] = INPUTS, image: str = IMAGE) -> int:
        return invoke(["submit", pipeline, "--host", host, *inputs, "--preset", "demo", "--image", image, *more])

    return submit


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one sentence on standard error."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_run_is_of_the_committed_pipeline_with_the_parameters_of_a_local_run(
    submit: Submit, backend: Backend, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit("training", "--set", "pretrain.num_steps=7", "--run-name", "first", "--experiment", "shoes") == 0
    (run,) = backend.runs
    pipeline, version = run["pipeline_version_reference"]["pipeline_id"], run["pipeline_version_reference"]["pipeline_version_id"]
    of, name, documents = backend.versions[version]
    assert backend.pipelines[pipeline] == ("smar-training", None) and of == pipeline
    assert name == version_of("training", compiled("training"))
    assert documents == list(yaml.safe_load_all(compiled("training").read_text()))
    given = run["runtime_config"]["parameters"]
    sources = Sources("s3://shop/items", "s3://shop/clicks")
    digests = {name: given[f"{name}_digest"] for name in ("items", "clicks")}
    config = load_config("demo", ["pretrain.num_steps=7"])
    assert given == {"image": IMAGE, **pipeline_arguments(sources, None, digests, config)}
    assert (run["display_name"], backend.experiments[run["experiment_id"]]) == ("first", "shoes")
    assert capsys.readouterr().out.splitlines()[-1].split() == ["run", f"{host}/#/runs/details/run-0"]


def test_second_run_uploads_nothing_and_another_cluster_section_another_version(submit: Submit, backend: Backend) -> None:
    assert [submit("training"), submit("training", "--set", "pretrain.num_steps=9")] == [0, 0]
    assert len(backend.pipelines) == 1 and len(backend.experiments) == 1
    used = {run["pipeline_version_reference"]["pipeline_version_id"] for run in backend.runs}
    assert len(used) == 1
    assert submit("training", "--set", "cluster.training_memory_gib=64") == 0
    _, _, (pipeline, _) = backend.versions[backend.runs[-1]["pipeline_version_reference"]["pipeline_version_id"]]
    resources = pipeline["deploymentSpec"]["executors"]["exec-pretrain"]["container"]["resources"]
    assert resources["resourceMemoryLimit"] == "64Gi"


def test_experiments_are_submitted_with_all_their_trials_and_no_setting_of_the_cluster(submit: Submit, backend: Backend) -> None:
    assert submit("ablation", "--variants", "smar,dpsr", "--seeds", "0,1", "--set", "cluster.parallel_trials=2") == 0
    given = backend.runs[0]["runtime_config"]["parameters"]
    assert [(t["variant"], t["seed"]) for t in given["trials"]] == [("smar", "0"), ("dpsr", "0"), ("smar", "1"), ("dpsr", "1")]
    assert (given["settings"], given["results"], given["recorded"], given["image"]) == ("[]", "", "[]", IMAGE)
    assert submit("sweep", "--axis", "loss.alpha=0.5,1.0", "--seeds", "3") == 0
    trials = backend.runs[1]["runtime_config"]["parameters"]["trials"]
    assert [json.loads(trial["overrides"]) for trial in trials] == [[], ["loss.alpha=0.5"]]


def test_refresh_is_submitted_with_the_alias_of_its_model(
    submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit("refresh", "--model", "newest", "--set", "evaluate.confidence=0.9") == 0
    given = backend.runs[0]["runtime_config"]["parameters"]
    assert (given["model"], json.loads(given["evaluate"])["confidence"], given["image"]) == ("newest", 0.9, IMAGE)
    assert {name for name, _ in backend.pipelines.values()} == {"smar-refresh"}
    for setting in ("pretrain.num_steps=3", "runtime.precision=bfloat16"):
        assert submit("refresh", "--set", setting) == 2
        assert f"{setting} plays no part in a refresh" in complaint(capsys)


def test_refresh_asks_for_what_encodes_and_for_nothing_that_trains(
    submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit("refresh", "--set", "runtime.device=cuda") == 2
    assert "set cluster.encoding_accelerators, or runtime.device=auto" in complaint(capsys)
    assert submit("refresh", "--set", "runtime.num_threads=9") == 2
    assert "runtime.num_threads (9) is above cluster.encoding_num_cpus (2)" in complaint(capsys)
    for setting in ("cluster.training_num_cpus=9", "cluster.parallel_trials=2", "cluster.workspace_gib=5"):
        assert submit("refresh", "--set", setting) == 2
        assert f"{setting.partition('=')[0]} plays no part in a refresh" in complaint(capsys)
    assert submit("refresh", "--preset", "paper") == 0, "what a preset says of trainings is nobody's mistake"
    raised = (
        f"cluster.{key}_gib={value}" for key, value in (("shared_memory", 10), ("encoding_memory", 16), ("training_memory", 16))
    )
    assert submit("refresh", *(part for setting in raised for part in ("--set", setting))) == 0, "the three must fit each other"
    assert submit("refresh", "--set", "cluster.encoding_accelerators=1", "--set", "runtime.device=cuda") == 0
    assert json.loads(backend.runs[-1]["runtime_config"]["parameters"]["runtime"])["device"] == "cuda"


@pytest.mark.parametrize("pipeline", ["training", "refresh"])
def test_recurring_runs_take_the_digests_of_their_inputs_themselves(
    pipeline: str, submit: Submit, backend: Backend, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of now would make later runs take the first one's stages from the cache, whatever the new catalogue."""
    every_night = (pipeline, "--cron", "0 0 4 * * *", "--run-name", "nightly")
    assert submit(*every_night) == 2
    assert "--digest says what the inputs are now" in complaint(capsys)
    assert submit(*every_night, inputs=INPUTS[:4]) == 0
    (recurring,) = backend.runs
    given = recurring["runtime_config"]["parameters"]
    assert (given["items"], given["items_digest"], given["clicks_digest"]) == ("s3://shop/items", "", "")
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * *"
    assert (recurring["display_name"], recurring["max_concurrency"], recurring["no_catchup"]) == ("nightly", 1, True)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["runs", f"{host}/#/recurringrun/details/recurring-0"]
    assert submit(*every_night, "--wait", inputs=INPUTS[:4]) == 2
    assert submit("ablation", "--cron", "0 0 4 * * *") == 2
    assert "--cron is not read by pipeline ablation" in capsys.readouterr().err


def test_recurring_runs_of_a_name_are_not_started_twice(
    submit: Submit, backend: Backend, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two schedules of one refresh would race for the champion, the older one with yesterday's image."""

    def start(*more: str) -> int:
        return submit("refresh", "--cron", "0 0 4 * * *", *more, inputs=INPUTS[:4])

    assert start("--run-name", "nightly") == 0
    assert start("--run-name", "nightly", "--set", "evaluate.confidence=0.9") == 2
    said = complaint(capsys)
    assert f"recurring runs named nightly already: {host}/#/recurringrun/details/recurring-0; delete them" in said
    assert len(backend.runs) == 1
    assert [start("--run-name", "weekly"), start("--run-name", "nightly", "--experiment", "shoes")] == [0, 0]


def test_without_cache_no_task_may_use_it(submit: Submit, backend: Backend) -> None:
    assert submit("training", "--no-cache") == 0
    _, _, (pipeline, _) = backend.versions[backend.runs[0]["pipeline_version_reference"]["pipeline_version_id"]]
    assert {str(task["cachingOptions"]) for task in all_tasks(pipeline)} == {"{}"}


def test_namespace_and_account_are_passed_on(submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    backend.is_shared = True
    assert submit("training") == 2
    assert "name your namespace with --namespace" in complaint(capsys)
    assert submit("training", "--namespace", "shoes", "--service-account", "smar") == 0
    assert list(backend.pipelines.values()) == [("smar-training", "shoes")]
    assert backend.runs[0]["service_account"] == "smar"


def test_page_may_be_elsewhere_than_the_api(submit: Submit, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("training", "--ui-host", "http://127.0.0.1:8080/") == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["run", "http://127.0.0.1:8080/#/runs/details/run-0"]


def test_token_is_read_from_its_file_and_shown_nowhere(
    submit: Submit, backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.token = "very-secret"
    token = tmp_path / "token"
    token.write_text("another-secret\n")
    assert submit("training") == 2
    assert "refuses to say how it is (401 Unauthenticated); give a token with --token-file" in complaint(capsys)
    assert submit("training", "--token-file", str(token)) == 2
    wrong = complaint(capsys)
    assert "401" in wrong and "give another token" in wrong and "another-secret" not in wrong
    token.write_text("very-secret\n")
    assert submit("training", "--token-file", str(token), "--wait") == 0
    printed = capsys.readouterr()
    assert "very-secret" not in printed.out + printed.err + json.dumps(backend.runs)
    assert "very-secret" not in json.dumps([documents for _, _, documents in backend.versions.values()])


def make_certificate(path: Path) -> Path:
    """Write a key and a certificate of 127.0.0.1 that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, *plain) + certificate.public_bytes(pem))
    return path


def test_certificate_of_an_authority_that_nobody_knows_has_to_be_named(
    host: str, backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate = make_certificate(tmp_path / "host.pem")
    with serve(backend, certificate=certificate) as url:
        arguments = ["submit", "training", "--host", url, *INPUTS, "--preset", "demo", "--image", IMAGE]
        assert invoke(arguments) == 2
        assert "--ca-file" in complaint(capsys)
        assert invoke([*arguments, "--ca-file", str(tmp_path / "none.pem")]) == 2
        assert "none.pem is no file" in complaint(capsys)
        assert invoke([*arguments, "--ca-file", str(certificate)]) == 0


def test_token_of_the_service_account_is_found_inside_a_cluster(
    submit: Submit, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.token = "projected"
    (tmp_path / "projected").write_text("projected")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "projected"))
    assert submit("training") == 0


def task(name: str, state: str, message: str | None = None) -> dict[str, Any]:
    error = {"code": 9, "message": message} if message else None
    return {"display_name": name, "state": state, **({"error": error} if error else {})}


def test_waiting_follows_the_tasks_to_a_good_end(submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    backend.states = ["PENDING", "RUNNING", "SUCCEEDED"]
    groups = ("root", "exit-handler-1", EXIT_HANDLER, "for-loop-2", "iteration-item-0", "condition-2", PROMOTION, "executor(0)")
    backend.tasks = [task(name, "RUNNING") for name in groups]
    backend.tasks += [task("prepare-data-driver", "SUCCEEDED"), task("prepare-data", "SUCCEEDED")]
    assert submit("training", "--wait") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "prepare-data: succeeded"
    assert not [line for line in told if line.startswith(groups)], "a person knows tasks alone"


def test_waiting_names_the_task_that_failed(
    submit: Submit, backend: Backend, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.states = ["RUNNING", "FAILED"]
    backend.tasks = [
        task("root", "FAILED"),
        task(EXIT_HANDLER, "FAILED"),
        task("exit-handler-1.onExit", "FAILED"),
        task("prepare-data", "SUCCEEDED"),
        task("pretrain", "FAILED", "OOMKilled"),
        task("executor", "FAILED", "exit code 137"),
    ]
    assert submit("training", "--wait") == 1
    assert complaint(capsys) == f"smar: pretrain failed (OOMKilled); see {host}/#/runs/details/run-0."


def test_driver_that_fails_counts_for_its_task(submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    backend.states = ["FAILED"]
    backend.tasks = [task("root-driver", "SUCCEEDED"), task("evaluate-driver", "FAILED"), task("root", "FAILED")]
    assert submit("training", "--wait") == 1
    assert "smar: evaluate failed; see" in complaint(capsys)


def test_cancelled_run_ends_the_wait(submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    """Kubeflow's client itself would wait for ever."""
    backend.states = ["CANCELED"]
    assert submit("training", "--wait") == 1
    assert "the run was cancelled" in complaint(capsys)


def test_server_that_is_away_for_a_moment_does_not_end_the_wait(
    submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.num_stumbles = 3
    assert submit("training", "--wait") == 0
    capsys.readouterr()
    backend.num_stumbles = 99
    assert submit("training", "--wait") == 2
    assert "fails to tell of the run (503 restarting)" in complaint(capsys)


@pytest.mark.parametrize(
    ("part", "status", "words"),
    [
        ("healthz", 404, ("does not know what it is asked", "Kubeflow Pipelines 2")),
        ("experiments", 404, ("keep experiment smar", "no namespace", "--namespace")),
        ("pipelines/upload", 409, ("refuses to keep pipeline smar-training (409 no namespace)",)),
        ("runs", 403, ("refuses to start a run (403", "--token-file")),
        ("runs", 500, ("fails to start a run (500", "ml-pipeline")),
    ],
)
def test_what_kubeflow_refuses_is_one_sentence(
    part: str, status: int, words: tuple[str, ...], submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.refusals = {part: (status, "no namespace")}
    assert submit("training") == 2
    said = complaint(capsys)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("address", "words"),
    [("http://127.0.0.1:9", "http://127.0.0.1:9 cannot be reached"), ("kubeflow.example", "--host kubeflow.example is no URL")],
)
def test_host_that_is_not_there_is_one_sentence_at_once(
    address: str, words: str, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["submit", "training", "--host", address, *INPUTS, "--preset", "demo", "--image", IMAGE]) == 2
    assert words in complaint(capsys)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--set", "beam.num_workers=9"], ("beam.num_workers (9)", "cluster.data_num_cpus (2)")),
        (
            ["--set", "runtime.num_threads=9", "--set", "cluster.training_num_cpus=9"],
            ("runtime.num_threads (9)", "cluster.encoding_num_cpus (2)"),
        ),
        (["--set", "runtime.num_threads=9"], ("runtime.num_threads (9)", "cluster.training_num_cpus (2)")),
        (["--set", "runtime.device=cuda"], ("runtime.device is cuda", "cluster.training_accelerators")),
        (["--set", "runtime.launcher=trainjob"], ("cluster.workspace_gib is 0", "ReadWriteMany")),
        (["--set", "cluster.parallel_trials=2"], ("cluster.parallel_trials plays no part in a single training",)),
        (["--set", "cluster.training_pods=trainjob"], ("runtime.launcher is local", "cluster.training_pods to stage")),
        (["--set", "tracking.uri=http://mlflow"], ("tracking.uri", "config map smar")),
        (["--set", "model.text_encoder=./checkpoint"], ("model.text_encoder",)),
        (["--axis", "loss.alpha=1"], ("--axis is not read by pipeline training", "submit sweep")),
        (["--digest", "images=1"], ("--digest names 'images'", "items, clicks")),
        (["--judgments", "judged.parquet"], ("judged.parquet is a file of this machine", "s3://")),
        (["--token-file", "/no/such/token"], ("/no/such/token cannot be read",)),
    ],
)
def test_slips_are_found_before_anything_is_uploaded(
    more: list[str], words: tuple[str, ...], submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit("training", *more) == 2
    said = complaint(capsys)
    assert all(word in said for word in words), said
    assert not backend.versions


def test_unknown_pipeline_is_named_with_those_that_there_are(submit: Submit, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("train") == 2
    assert "there is no pipeline 'train'; choose one of training, ablation, sweep, refresh" in complaint(capsys)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (None, "--image"),
        ("registry.example:5000/smar", "which version"),
        ("registry.example/smar:latest", "which version"),
        ("registry.example/smar@sha256:12", "no reference"),
        ("registry.example/smar: 1", "no reference"),
    ],
)
def test_image_must_say_which_one_it_is(reference: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_image(reference)


def test_inputs_are_known_by_the_checksums_of_their_store_or_by_what_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.remote_inputs.digest_inputs", lambda path: f"digest of {path}")
    sources = Sources("s3://shop/items", "s3://shop/clicks")
    told, later = (Inputs(sources, versions={"clicks": version}).digests() for version in ("monday", "tuesday"))
    assert told["items"] == later["items"] == "digest of s3://shop/items"
    assert len(told["clicks"]) == 64 and told["clicks"] != later["clicks"]


def test_store_that_cannot_be_listed_leads_to_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> str:
        raise UserError(f"{path} cannot be listed", "check the rights")

    monkeypatch.setattr("pipelines.remote_inputs.digest_inputs", refuse)
    with pytest.raises(UserError, match="check the rights; or say which version it is with --digest items=TEXT"):
        Inputs(Sources("s3://shop/items", "s3://shop/clicks")).digests()


@pytest.mark.parametrize("authority", ["AKIA:sesame@shop", "AKIA:ses/ame@shop", "AKIA:@shop"])
@pytest.mark.parametrize("more", [("--digest", "items=1", "--digest", "clicks=1"), ("--cron", "0 0 4 * * *")])
def test_a_password_in_an_input_becomes_no_parameter(
    authority: str, more: tuple[str, ...], submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --digest or --cron the store is not asked, and the address went into the run's parameters with its password."""
    inputs = ("--items", f"s3://{authority}/items", "--clicks", "s3://shop/clicks", *more)
    assert submit("refresh", inputs=inputs) == 2
    told = complaint(capsys)
    assert "password" in told and "ame" not in told and "AKIA" not in told
    assert not backend.runs and not backend.versions


@pytest.mark.parametrize("option", ["--host", "--ui-host"])
def test_a_password_in_kubeflows_address_is_not_repeated(
    option: str, submit: Submit, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was printed with the address of the run."""
    assert submit("training", option, "https://ada:sesame@kubeflow.example/pipeline") == 2
    told = complaint(capsys)
    assert f"{option} has a user or a password" in told and "sesame" not in told
    assert not backend.runs


def test_image_of_the_section_makes_no_version_of_its_own(submit: Submit, backend: Backend, tmp_path: Path) -> None:
    assert submit("training", image="registry.example/smar:abc") == 0
    compile_pipeline("training", tmp_path / "training.yaml", ClusterConfig())
    (name,) = {name for _, name, _ in backend.versions.values() if name != "smar-training"}
    assert name == version_of("training", tmp_path / "training.yaml")
