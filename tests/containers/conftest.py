"""A finished run of the pipeline in the image, beside one without containers: made once, looked at by every test here."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from components.image import image_reference
from smar_core.data.demo import write_demo
from tests.containers.engine import Ended, open_engine, run_hardened
from tests.containers.tasks import Task, input_folders
from tests.pipelines.shop_runs import SETTINGS, Shop

_NUM_ITEMS = {"small": 200, "full": 1500}
_RUN_SECONDS = 3000
_BLOCKER = Path(__file__).with_name("blocker")

RunStage = Callable[..., Ended]
"""``run_stage(stage, environment=None, parameters=None)``: the compiled command of a stage in a container."""


@dataclass(frozen=True)
class DemoRuns:
    """The demo, run twice on the same files.

    Attributes:
        shop: Working folder of the run in containers.
        in_containers: Its run.json.
        as_processes: That of the run without containers.
        recalls: R@50 of the model, in the order of these two.
    """

    shop: Shop
    in_containers: Mapping[str, Any]
    as_processes: Mapping[str, Any]
    recalls: tuple[float, float]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the size of the demo."""
    parser.addoption("--demo", choices=sorted(_NUM_ITEMS), default="small", help="which demo runs in the image")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A container engine."""
    with tempfile.TemporaryDirectory(prefix="smar-") as folder, open_engine(Path(folder)) as client:
        yield client


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> str:
    """The image of this working tree."""
    reference = image_reference()
    try:
        engine.images.get(reference)
    except docker.errors.ImageNotFound:
        pytest.fail(f"there is no image {reference}: run make image")
    return reference


@pytest.fixture(scope="session")
def demo_runs(image: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DemoRuns:
    """The demo, run in containers and, at the same time, as plain processes."""
    size = request.config.getoption("--demo")
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder / "data", _NUM_ITEMS[size])
    settings = SETTINGS if size == "small" else ("runtime.num_threads=1",)
    shops = {runner: Shop(folder / runner, folder / "data") for runner in ("docker", "subprocess")}
    started = {}
    for runner, shop in shops.items():
        shop.folder.mkdir()
        started[runner] = shop.start(shop.run_arguments("out", "--runner", runner, settings=settings))
    for runner, process in started.items():
        _, error = process.communicate(timeout=_RUN_SECONDS)
        assert process.returncode == 0, f"{runner}: {error}" + shops[runner].latest_log()
    # safetensors leaves files that their owner alone may read; the tests read them as another user.
    for path in (shops["docker"].folder / ".smar" / "store").rglob("*"):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    recalls = [shop.read("out", "metrics.json")["model"]["overall"]["R@50"]["value"] for shop in shops.values()]
    return DemoRuns(
        shops["docker"],
        shops["docker"].read("out", "run.json"),
        shops["subprocess"].read("out", "run.json"),
        (recalls[0], recalls[1]),
    )


@pytest.fixture
def outputs() -> Iterator[Path]:
    """An empty folder that any user may write."""
    folder = Path(tempfile.mkdtemp(prefix="smar-outputs-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run_stage(engine: docker.DockerClient, image: str, demo_runs: DemoRuns, outputs: Path) -> RunStage:
    """A function that runs the compiled command of a stage on the demo's artifacts."""

    def run(stage: str, environment: Mapping[str, str] | None = None, parameters: Mapping[str, str] | None = None) -> Ended:
        return run_hardened(
            engine,
            image,
            Task.read(stage).command_line(demo_runs.in_containers, str(outputs), parameters or {}),
            readable={**input_folders(demo_runs.in_containers), _BLOCKER: "/opt/blocker"},
            writable={outputs: str(outputs)},
            environment=environment,
        )

    return run
