"""What a trial is, how it is configured, and what counts as changed."""

from smar_core.config import load_config
from smar_core.experiments.trials import (
    SEEDED_SECTIONS,
    SHARED_SECTIONS,
    TRIAL_SECTIONS,
    Trial,
    changed_keys,
    data_digest,
    rank_settings,
    shaping_values,
)


def test_trial_and_shared_sections_are_all_there_are() -> None:
    assert sorted((*TRIAL_SECTIONS, *SHARED_SECTIONS)) == sorted(type(load_config()).model_fields)


def test_seed_is_that_of_the_training_stages_and_not_of_the_data() -> None:
    config = Trial(variant="smar", seed=5).configure("demo", [])
    assert {getattr(config, section).seed for section in SEEDED_SECTIONS} == {5}
    assert config.synthetic.seed == load_config("demo").synthetic.seed


def test_what_shapes_the_figures_is_told_by_key_and_nothing_else_counts() -> None:
    then = shaping_values(load_config("demo"))
    same = ("beam.num_workers=1", "evaluate.num_examples=1", "evaluate.num_bootstrap_samples=7", "tracking.experiment=mine")
    assert changed_keys(then, load_config("demo", same)) == []
    for other in (
        "pretrain.seed=1",
        "evaluate.split=validation",
        "synthetic.ratio=1",
        "runtime.num_threads=1",
        "export.index=flat",
    ):
        assert changed_keys(then, load_config("demo", [other])) == [other.partition("=")[0]]


def test_setting_that_is_newer_than_a_file_counts_only_when_it_is_used() -> None:
    """Every new setting would otherwise have called for all trainings again."""
    then = {section: dict(values) for section, values in shaping_values(load_config("demo")).items()}
    del then["loss"]["alpha"]
    assert changed_keys(then, load_config("demo")) == []
    assert changed_keys(then, load_config("demo", ["loss.alpha=0.5"])) == ["loss.alpha"]
    then["loss"]["gone"] = 3
    assert changed_keys(then, load_config("demo")) == ["loss.gone"]


def test_data_are_catalogue_log_and_pictures() -> None:
    files = {"items": "a", "clicks": "b"}
    known = data_digest(files, {})
    assert data_digest({**files, "judgments": "c"}, {"judgments.grade": "label"}) == known
    assert data_digest({**files, "images": "c"}, {}) != known


def test_the_same_files_read_by_other_columns_are_other_data() -> None:
    """Trials of two column maps were added up as if of one catalogue."""
    maps: list[dict[str, str]] = [{}, {"title": "short"}, {"title": "long"}, {"title": "long", "clicks.item_id": "sku"}]
    assert len({data_digest({"items": "a", "clicks": "b"}, column_map) for column_map in maps}) == 4
    assert data_digest({}, {"title": "a", "brand": "b"}) == data_digest({}, {"brand": "b", "title": "a"})


def test_tables_begin_with_the_baseline_then_go_as_the_paper_does() -> None:
    trials = [Trial(variant=variant, seed=seed) for seed in (0, 1) for variant in ("dpsr-i", "smar-nc", "dpsr", "smar")]
    assert rank_settings("dpsr", trials) == ["dpsr", "smar", "smar-nc", "dpsr-i"]


def test_tables_have_a_variants_settings_below_it_whatever_was_recorded_before() -> None:
    trials = [Trial(variant="smar", overrides=(override,)) for override in ("loss.beta=2", "loss.alpha=2")]
    trials += [Trial(variant="dpsr"), Trial(variant="smar")]
    for known in (trials, trials[::-1]):
        assert rank_settings("smar", known) == ["smar", "smar,loss.alpha=2", "smar,loss.beta=2", "dpsr"]
