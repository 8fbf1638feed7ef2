import itertools

import pytest
from pydantic import ValidationError

from smar_core.config import (
    PRESETS,
    REFRESH_STAGE_SECTIONS,
    STAGE_SECTIONS,
    VARIANTS,
    PipelineConfig,
    load_config,
    override_config,
    parse_config,
)
from smar_core.config.ignored import RULES
from smar_core.errors import UserError


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load_and_survive_json(preset: str) -> None:
    config = load_config(preset)
    assert config.model.num_heads == 12
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


def test_defaults_are_those_of_small() -> None:
    assert load_config() == load_config("small")


def test_sizes_of_the_presets() -> None:
    assert load_config("demo").model.hidden_size <= 96
    assert load_config("small").model.hidden_size == 144
    paper = load_config("paper")
    assert (paper.model.hidden_size, paper.prepare.image_width_px, paper.prepare.image_height_px) == (768, 224, 224)


def test_overrides_are_yaml() -> None:
    config = load_config(
        "demo",
        [
            "synthetic.ratio=0",
            "gate.visual_categories=[Toys, Home > Decor]",
            "pretrain.learning_rate=1e-3",
            "tracking.uri=null",
            "finetune.freeze=[image]",
        ],
    )
    assert config.synthetic.ratio == 0
    assert config.gate.visual_categories == ("Toys", "Home > Decor")
    assert config.pretrain.learning_rate == 0.001
    assert config.tracking.uri is None
    assert config.finetune.freeze == ("image",)


def test_later_overrides_win() -> None:
    assert load_config("demo", ["pretrain.num_steps=1", "pretrain.num_steps=2"]).pretrain.num_steps == 2


def test_sections_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_config().prepare.vocab_size = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("pretrain.num_stepz=5", ("num_stepz", "did you mean 'num_steps'")),
        ("pretrian.num_steps=5", ("pretrian", "did you mean 'pretrain'")),
        ("num_steps=5", ("num_steps=5", "section.key=value")),
        ("pretrain.num_steps", ("pretrain.num_steps", "section.key=value")),
        ("pretrain.num_steps=many", ("pretrain.num_steps", "'many'")),
        ("pretrain.num_steps=-1", ("pretrain.num_steps", "-1", "greater than or equal to 0")),
        ("pretrain.learning_rate=0", ("pretrain.learning_rate", "0", "greater than 0")),
        ("pretrain.learning_rate=.nan", ("pretrain.learning_rate", "finite")),
        ("pretrain.batch_size=1.5", ("pretrain.batch_size", "1.5")),
        ("loss.kind=triplet", ("loss.kind", "triplet", "info_nce")),
        ("prepare.test_share=1.5", ("prepare.test_share", "1.5")),
        ("gate.visual_categories=[]", ("visual_categories", "at least one")),
        ("gate.visual_categories=[", ("gate.visual_categories", "YAML")),
        ("model.num_heads=7", ("num_heads", "7", "multiple")),
        ("prepare.image_width_px=30", ("prepare.image_width_px", "30", "patch_size_px")),
        ("pretrain.batch_size=3", ("batch_size", "3", "queries_per_item")),
        ("gate.mode=always_image", ("gate.mode always_image", "['text', 'image', 'multimodal']", "choose the variant dpsr-i")),
        ("evaluate.cutoffs=[10]", ("cutoffs", "50")),
        ("export.index=ivf", ("export.index", "ivf")),
        ("runtime.num_processes=2", ("num_processes", "2", "set launcher to torchrun, on a cluster to trainjob")),
    ],
)
def test_a_mistake_is_named_with_its_remedy(override: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        load_config("small", [override])
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["loss.margin=0.5"],
            "loss.margin (0.5) plays no part in loss.kind info_nce; leave loss.margin out, or set loss.kind to hinge.",
        ),
        (["loss.kind=hinge", "loss.temperature=0.1"], "loss.temperature (0.1) plays no part in loss.kind hinge"),
        (
            ["loss.weight_entropy=0"],
            "loss.weight_entropy (0.0) plays no part in loss.weights fixed; leave loss.weight_entropy out, or set loss.weights "
            "to per_category or per_pair.",
        ),
        (["loss.weights=uncertainty", "loss.weight_entropy=2"], "loss.weight_entropy (2.0) plays no part in loss.weights"),
        (
            ["pretrain.mine_every_steps=10"],
            "pretrain.mine_every_steps (10) plays no part in pretrain.hard_negatives 0; leave pretrain.mine_every_steps out, or "
            "set pretrain.hard_negatives above 0.",
        ),
        (["finetune.hard_negative_depth=10"], "(10) plays no part in finetune.hard_negatives 0"),
        (["finetune.hard_negative_margin=0.05"], "(0.05) plays no part in finetune.hard_negatives 0"),
        (["pretrain.hard_negatives=8", "finetune.mine_every_steps=9"], "(9) plays no part in finetune.hard_negatives 0"),
        (["synthetic.ratio=0", "pretrain.synthetic_share=0.2"], "(0.2) plays no part in synthetic.ratio 0.0"),
        (
            ["synthetic.sampling=matched", "synthetic.max_redraws=3"],
            "(3) plays no part in synthetic.sampling matched",
        ),
        (["pretrain.num_steps=0", "pretrain.synthetic_share=0.2"], "(0.2) plays no part in pretrain.num_steps 0"),
        (["pretrain.num_steps=0", "loss.alpha=0.5"], "loss.alpha (0.5) plays no part in pretrain.num_steps 0"),
        (["pretrain.num_steps=0", "loss.weights=per_pair"], "(per_pair) plays no part in pretrain.num_steps 0"),
        (["gate.mode=always_text", "evaluate.reliance=skipped"], "(skipped) plays no part in gate.mode always_text"),
        (["gate.mode=always_text", "evaluate.num_examples=3"], "(3) plays no part in gate.mode always_text"),
        (["finetune.num_steps=0", "finetune.learning_rate=1e-4"], "set finetune.num_steps above 0"),
        (["finetune.num_steps=0", "finetune.text_weight=0"], "(0.0) plays no part in finetune.num_steps 0"),
        (["gate.mode=always_text", "gate.num_steps=5"], "gate.num_steps (5) plays no part in gate.mode always_text"),
        (["gate.mode=always_multimodal", "gate.hidden_size=64"], "(64) plays no part in gate.mode always_multimodal"),
        (["gate.mode=always_multimodal", "finetune.text_weight=0"], "finetune.text_weight (0.0) plays no part in gate.mode"),
        (["gate.mode=always_text", "finetune.gate_weighting=hard"], "(hard) plays no part in gate.mode always_text"),
        (["export.index=flat", "export.hnsw_num_links=16"], "export.hnsw_num_links (16) plays no part in export.index flat"),
        (["export.ivf_num_probes=4"], "export.ivf_num_probes (4) plays no part in export.index hnsw"),
        (["export.index=flat", "export.seed=1"], "set export.index to hnsw or ivf_pq"),
        (
            ["runtime.launcher=torchrun", "runtime.num_nodes=1"],
            "runtime.num_nodes (1) plays no part in runtime.launcher torchrun",
        ),
        (["model.fusion=pooled", "model.num_fusion_layers=2"], "(2) plays no part in model.fusion pooled"),
        (["model.query_encoder=bert", "model.num_query_layers=2"], "plays no part in model.query_encoder bert; leave"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(overrides: list[str], message: str) -> None:
    """Each was taken and did nothing."""
    with pytest.raises(UserError) as caught:
        load_config("small", overrides)
    assert message in str(caught.value)
    *more, last = overrides
    with pytest.raises(UserError):
        override_config(load_config("small", more), [last])
    config = load_config("small", shared=overrides)
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("variant", "override", "message"),
    [
        ("dpsr", "model.num_image_layers=1", "(1) plays no part in model.item_towers ['text']; leave model.num_image_layers out"),
        ("dpsr", "model.patch_size_px=16", "or choose a variant with the image tower."),
        ("dpsr", "model.patch_stem=convolution", "or choose a variant with the image tower."),
        ("dpsr", "model.fusion=cross_attention", "or choose a variant with the multimodal tower."),
        ("dpsr-i", "model.max_item_tokens=20", "or choose a variant with the text tower."),
        ("smar-nc", "model.num_fusion_layers=2", "plays no part in model.fusion pooled"),
    ],
)
def test_a_setting_of_what_the_variant_lacks_is_refused(variant: str, override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("paper", [override], variant)
    assert message in str(caught.value)
    assert load_config("paper", [override]) is not None


@pytest.mark.parametrize(("preset", "variant"), itertools.product(PRESETS, VARIANTS))
def test_a_preset_may_set_what_a_variant_does_not_read(preset: str, variant: str) -> None:
    """Preset paper sets image layers, which dpsr has none of, and settings of an index that it does not build."""
    config = load_config(preset, variant=variant)
    assert parse_config(config.model_dump(mode="json")) == config


def test_every_rule_is_about_settings_that_there_are() -> None:
    config = PipelineConfig()
    for rule in RULES:
        for section, key in (name.split(".") for name in (*rule.keys, rule.by)):
            assert key in type(getattr(config, section)).model_fields


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss.kind=hinge", "loss.margin=0.5"],
        ["loss.weights=per_pair", "loss.weight_entropy=0"],
        ["pretrain.hard_negatives=8", "pretrain.mine_every_steps=10", "pretrain.hard_negative_depth=9"],
        ["export.index=ivf_pq", "export.ivf_num_lists=8", "export.seed=3"],
        ["gate.num_steps=5", "finetune.text_weight=0", "model.patch_size_px=8"],
    ],
)
def test_a_setting_with_what_reads_it_is_taken(overrides: list[str]) -> None:
    config = load_config("small", overrides)
    assert parse_config(config.model_dump(mode="json")) == config


def test_processes_are_shared_evenly_by_the_nodes() -> None:
    overrides = ["runtime.launcher=trainjob", "runtime.num_processes=6", "runtime.num_nodes=3", "runtime.num_threads=8"]
    runtime = load_config("demo", overrides).runtime
    assert (runtime.num_processes_per_node, runtime.num_threads_per_process) == (2, 4)
    with pytest.raises(UserError, match=r"num_processes \(6\) must divide by num_nodes \(4\)"):
        load_config("demo", [*overrides, "runtime.num_nodes=4"])
    with pytest.raises(UserError, match=r"num_nodes \(3\) plays no part in launcher torchrun.*set launcher to trainjob"):
        load_config("demo", [*overrides, "runtime.launcher=torchrun"])


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_hard_negatives_beside_the_correction_for_popularity_are_refused(stage: str) -> None:
    """A mined item is in its batch almost for sure, and was corrected as if the sampler had drawn it."""
    with pytest.raises(UserError) as caught:
        load_config("small", ["loss.popularity=logq", f"{stage}.hard_negatives=8"])
    message = str(caught.value)
    words = "loss.popularity logq", f"{stage}.hard_negatives (8)", "set loss.popularity to none, or hard_negatives to 0"
    assert all(word in message for word in words), message


def test_shares_that_leave_no_training_days_are_refused() -> None:
    with pytest.raises(UserError, match="leave something for training"):
        load_config("demo", ["prepare.test_share=0.5", "prepare.validation_share=0.5"])


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UserError, match="choose one of demo, study, small, paper"):
        load_config("large")


def test_unknown_keys_in_nested_values_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'vocab_size'"):
        parse_config({"prepare": {"vocabsize": 5}})
    with pytest.raises(UserError, match="prepair"):
        parse_config({"prepair": {}})


def test_every_section_but_tracking_and_cluster_belongs_to_a_stage() -> None:
    used = {section for sections in (STAGE_SECTIONS | REFRESH_STAGE_SECTIONS).values() for section in sections}
    assert used == PipelineConfig.model_fields.keys() - {"tracking", "cluster"}
