"""Component of a refresh's last task, never cached and run only where the verdict is so: the new bundle becomes the champion."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def promote(
    bundle: dsl.Input[dsl.Model],
    finetuned: dsl.Input[dsl.Model],
    gate: dsl.Input[dsl.Model],
    champion_version: str,
    has_champion: str,
    items_digest: str,
    clicks_digest: str,
    images_digest: str,
    judgments_digest: str,
    tracking_section: str,
) -> str:
    """Register the bundle with its model and gate, and point the alias ``champion`` at it, if that has not moved meanwhile.

    Args:
        bundle: The new catalogue's bundle.
        finetuned: The model that encoded it.
        gate: Its P(q).
        champion_version: Version that the bundle was compared with.
        has_champion: "yes" where that is the champion, "no" where there was none.
        items_digest: Digest of the catalogue's files.
        clicks_digest: Digest of the click log's files.
        images_digest: Digest of the pictures' files; "" for none.
        judgments_digest: Digest of the judgments' files; "" without judgments.
        tracking_section: Config section ``tracking`` as JSON.

    Returns:
        Number of the version.
    """
    from components.refresh import promote as put_forward

    return put_forward(
        {"bundle": bundle, "finetuned": finetuned, "gate": gate},
        {"items": items_digest, "clicks": clicks_digest, "images": images_digest, "judgments": judgments_digest},
        tracking_section,
        champion_version if has_champion == "yes" else None,
    )
