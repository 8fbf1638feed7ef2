"""Which alias is moved by whom: a training moves ``newest``, a refresh ``champion``, and that only from where it was."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from kfp import dsl
from mlflow import MlflowClient

from components.promote import promote
from components.refresh import FETCHED, Versions, fetch_models, find_versions
from components.surroundings import Surroundings
from components.tracking import CHAMPION, NEWEST, ModelRegistry
from components.tracking.registry import PARTS
from smar_core.artifact import Artifact, create_artifact, open_artifact, write_json
from smar_core.errors import UserError
from tests.pipelines.cluster_tasks import as_on_a_cluster

MODEL = "smar"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(uri: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Of a registry with three versions: the champion, a retrained model, and what a refresh of the champion would register."""
    around = Surroundings(tracking_uri=uri, experiment="registry", pipeline_run_id="refresh")
    for name, value in around.as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("components.refresh.ARTIFACT_KINDS", dict.fromkeys((*PARTS, *FETCHED), "tokenizer"))
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    if client.search_registered_models():
        client.delete_registered_model(MODEL)
    client.create_registered_model(MODEL)
    for _ in range(3):
        client.create_model_version(MODEL, "s3://models/bundle")
    client.set_registered_model_alias(MODEL, CHAMPION, "1")
    client.set_registered_model_alias(MODEL, NEWEST, "2")
    return client


def make_artifacts(folder: Path) -> dict[str, Artifact]:
    """Write artifacts that stand for those of a version, other ones in each folder."""
    artifacts = {}
    for part in PARTS:
        with create_artifact(folder / part, "tokenizer", config_digest="", parents={}) as made:
            write_json(made / "tokenizer.json", {"words": [part, folder.name]})
        artifacts[part] = open_artifact(folder / part, "tokenizer")
    return artifacts


@pytest.fixture
def whole(client: MlflowClient) -> None:
    """The first two versions say which artifacts they hold, as a training leaves them."""
    for version in "12":
        client.set_model_version_tag(MODEL, version, "smar.parts", ",".join(PARTS))
        for part in PARTS:
            client.set_model_version_tag(MODEL, version, f"smar.artifact.{part}", f"{part} of {version}")


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(("alias", "version"), [("newest", "2"), ("champion", "1")])
def test_the_model_that_is_asked_for_is_compared_with_the_champion(alias: str, version: str) -> None:
    assert find_versions(alias, "{}") == Versions(
        model_name=MODEL,
        model_version=version,
        finetuned_digest=f"finetuned of {version}",
        gate_digest=f"gate of {version}",
        champion_version="1",
        champion_digest="bundle of 1",
        has_champion="yes",
    )


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("alias", ["newest", "champion"])
def test_without_a_champion_the_newest_model_is_compared_with_its_own_bundle(client: MlflowClient, alias: str) -> None:
    client.delete_registered_model_alias(MODEL, CHAMPION)
    found = find_versions(alias, "{}")
    assert (found.model_version, found.champion_version, found.champion_digest) == ("2", "2", "bundle of 2")
    assert found.has_champion == "no"


@pytest.fixture
def refreshed(client: MlflowClient, tmp_path: Path) -> Mapping[str, Artifact]:
    """Artifacts of version 3, which a registration finds by their digests instead of uploading them."""
    artifacts = make_artifacts(tmp_path / "refreshed")
    for part, artifact in artifacts.items():
        client.set_model_version_tag(MODEL, "3", f"smar.artifact.{part}", artifact.digest)
    client.set_model_version_tag(MODEL, "3", "smar.parts", ",".join(PARTS))
    return artifacts


def promote_refreshed(artifacts: Mapping[str, Artifact], champion_version: str, has_champion: str = "yes") -> str:
    """Run the task as Kubeflow would."""
    version: str = promote.python_func(
        **{part: dsl.Model(uri=str(artifact.path)) for part, artifact in artifacts.items()},
        champion_version=champion_version,
        has_champion=has_champion,
        **dict.fromkeys(("items_digest", "clicks_digest", "images_digest", "judgments_digest"), ""),
        tracking_section="{}",
    )
    return version


def aliases(client: MlflowClient) -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model(MODEL).aliases.items()}


def test_promotion_leaves_newest_at_the_retrained_model(client: MlflowClient, refreshed: Mapping[str, Artifact]) -> None:
    """A nightly refresh of the champion would else hide the retrained model from ``refresh --model newest`` for ever."""
    assert promote_refreshed(refreshed, "1") == "3"
    assert aliases(client) == {CHAMPION: "3", NEWEST: "2"}


def test_a_task_that_is_tried_again_finds_its_work_done(client: MlflowClient, refreshed: Mapping[str, Artifact]) -> None:
    assert [promote_refreshed(refreshed, "1"), promote_refreshed(refreshed, "1")] == ["3", "3"]
    assert aliases(client) == {CHAMPION: "3", NEWEST: "2"}


@pytest.mark.parametrize(
    ("has_champion", "was"), [("yes", "was version 1 when"), ("no", "was none when")], ids=["moved meanwhile", "made meanwhile"]
)
def test_champion_that_moved_since_the_comparison_is_not_overwritten(
    has_champion: str, was: str, client: MlflowClient, refreshed: Mapping[str, Artifact]
) -> None:
    client.set_registered_model_alias(MODEL, CHAMPION, "2")
    with pytest.raises(UserError, match=f"{was} version 3 was compared with it, and is version 2 now") as caught:
        promote_refreshed(refreshed, "1", has_champion)
    assert "run the refresh again" in caught.value.remedy
    assert aliases(client)[CHAMPION] == "2"


def test_the_first_champion_needs_none_before_it(client: MlflowClient, refreshed: Mapping[str, Artifact]) -> None:
    client.delete_registered_model_alias(MODEL, CHAMPION)
    promote_refreshed(refreshed, "2", has_champion="no")
    assert aliases(client) == {CHAMPION: "3", NEWEST: "2"}


def test_training_is_pointed_at_by_the_alias_that_it_names(
    client: MlflowClient, uri: str, refreshed: Mapping[str, Artifact]
) -> None:
    assert ModelRegistry(client, uri, MODEL).register(refreshed, "", {}, NEWEST) == "3"
    assert aliases(client) == {CHAMPION: "1", NEWEST: "3"}


def test_a_task_that_fails_after_its_registration_leaves_a_run_that_failed(
    client: MlflowClient, uri: str, tmp_path: Path
) -> None:
    """MLflow ended the run when the bundle was registered, so that nobody ended it as failed."""
    client.set_registered_model_alias(MODEL, CHAMPION, "2")
    with as_on_a_cluster(uri, "moved") as parent:
        with pytest.raises(UserError, match="run the refresh again"):
            promote_refreshed(make_artifacts(tmp_path / "new"), "1")
        assert parent().info.status == "RUNNING"
    assert parent().info.status == "FAILED"
    assert "smar.problem" in parent().data.tags


def test_a_registration_that_fails_ends_no_run(
    client: MlflowClient, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one that Kubeflow's plugin made for the task either."""

    def fail(**_: object) -> None:
        raise OSError("the object store is away")

    run_id = client.create_run(client.create_experiment("of the plugin")).info.run_id
    monkeypatch.setattr("mlflow.pyfunc.log_model", fail)
    with as_on_a_cluster(uri, "away"), pytest.raises(OSError, match="away"):
        ModelRegistry(client, uri, MODEL).register(make_artifacts(tmp_path / "away"), run_id, {}, NEWEST)
    assert client.get_run(run_id).info.status == "RUNNING"


@pytest.mark.parametrize("part", ["finetuned", "gate", "bundle"])
def test_what_is_not_what_the_registry_says_is_refused(
    part: str, client: MlflowClient, refreshed: Mapping[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content, that is: the other artifact is as whole as the right one."""
    other = make_artifacts(tmp_path / "other")

    def fetch(_self: ModelRegistry, _version: str, wanted: str, place: Path) -> None:
        shutil.copytree((other if wanted == part else refreshed)[wanted].path, place)

    monkeypatch.setattr(ModelRegistry, "fetch", fetch)
    versions = dict.fromkeys(FETCHED, "3")
    digests = {artifact: refreshed[held].digest for artifact, held in FETCHED.items()}
    places = {artifact: tmp_path / "fetched" / artifact for artifact in FETCHED}
    with pytest.raises(UserError, match=f"the {part} of version 3 of smar is not what the registry says of it"):
        fetch_models(MODEL, versions, digests, places)
