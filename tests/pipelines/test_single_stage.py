"""What ``smar stage`` hands to its component."""

from pathlib import Path

from components.prepare_data import prepare_data
from pipelines.results import RunRecord
from pipelines.single_stage import _parameters
from smar_core.config import PipelineConfig
from smar_core.data.files import digest_inputs


def test_input_files_are_digested_again(tmp_path: Path) -> None:
    """They may have changed after the run that the stage starts from."""
    for name in ("items", "clicks"):
        (tmp_path / f"{name}.csv").write_text("item_id\ni1\n")
    paths = {"items": str(tmp_path / "items.csv"), "clicks": str(tmp_path / "clicks.csv"), "images": "", "column_map": "{}"}
    recorded = {
        "items_digest": digest_inputs(paths["items"]),
        "clicks_digest": digest_inputs(paths["clicks"]),
        "images_digest": "",
    }
    record = RunRecord(
        pipeline_run_id="r", preset="demo", arguments=paths | recorded, stages={}, artifacts={}, mlflow={}, log="log.txt"
    )
    (tmp_path / "clicks.csv").write_text("item_id\ni2\n")
    parameters = _parameters(prepare_data, "prepare_data", record, PipelineConfig())
    assert parameters["items_digest"] == recorded["items_digest"]
    assert parameters["clicks_digest"] == digest_inputs(paths["clicks"]) != recorded["clicks_digest"]
    assert parameters["images_digest"] == ""
