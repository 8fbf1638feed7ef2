"""Component of the first task of a refresh, never cached: which versions of the registered model it is about."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def find_versions(model: str, tracking_section: str) -> NamedTuple(  # type: ignore[valid-type]  # kfp reads the outputs' names here
    "Versions",
    [
        ("model_name", str),
        ("model_version", str),
        ("finetuned_digest", str),
        ("gate_digest", str),
        ("champion_version", str),
        ("champion_digest", str),
        ("has_champion", str),
    ],
):
    """Ask the registry which version gives model and gate, and which bundle is the champion's.

    Args:
        model: Alias of the version whose model is used.
        tracking_section: Config section ``tracking`` as JSON.

    Returns:
        Name of the model, versions, content digests, and whether there is a champion: "yes" or "no".
    """
    from dataclasses import astuple

    from components.refresh import find_versions as find

    return astuple(find(model, tracking_section))
