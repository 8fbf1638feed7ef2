"""Component of the task before an experiment's stages: the config sections of one trial, from preset, variant and overrides."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def configure(preset: str, settings: str, variant: str, overrides: str, seed: str, is_trial: str) -> NamedTuple(  # type: ignore[valid-type]  # kfp reads the outputs' names here
    "Sections",
    [
        ("prepare", str),
        ("beam", str),
        ("synthetic", str),
        ("model", str),
        ("loss", str),
        ("pretrain", str),
        ("gate", str),
        ("finetune", str),
        ("export", str),
        ("evaluate", str),
        ("runtime", str),
    ],
):
    """Write out every config section as JSON, so that equal settings have equal text and the cache shares their stages.

    Args:
        preset: What all trials start from.
        settings: JSON list of ``section.key=value``, which all trials have.
        variant: One of the model's variants.
        overrides: JSON list of ``section.key=value``, which the trial has beside.
        seed: Of pre-training, gate and fine-tuning.
        is_trial: "yes" where a trial begins, "no" for the sections that all share.

    Returns:
        A section each, in this order.
    """
    from components.experiment import configure_trial, parse_trial

    sections = configure_trial(preset, settings, parse_trial(variant, overrides, seed), is_trial=is_trial == "yes")
    return tuple(sections.values())
