"""Component of every pipeline's first task, never cached: what the input files hold now."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def digest_inputs(
    items_path: str,
    clicks_path: str,
    images_path: str,
    judgments_path: str,
    column_map: str,
    items_digest: str,
    clicks_digest: str,
    images_digest: str,
    judgments_digest: str,
    gate_section: str = "",
) -> NamedTuple(  # type: ignore[valid-type]  # kfp reads the outputs' names here
    "Digests",
    [
        ("items_digest", str),
        ("clicks_digest", str),
        ("images_digest", str),
        ("judgments_digest", str),
    ],
):
    """Check the input files and return their digests, those that were given as they are.

    Args:
        items_path: Catalogue: file, folder or URI.
        clicks_path: Click log: file, folder or URI.
        images_path: What image paths of the catalogue are relative to; "" for none.
        judgments_path: Graded judgments; "" for none.
        column_map: JSON of the input's column for each of our fields that is named otherwise.
        items_digest: Digest of the catalogue's files where it is known; "" where it is not.
        clicks_digest: Likewise of the click log's.
        images_digest: Likewise of the pictures'.
        judgments_digest: Likewise of the judgments'.
        gate_section: Config section ``gate`` as JSON, of a gate that is to learn from the catalogue; "" for none.

    Returns:
        Digests in this order; "" for what there is none of.
    """
    from components.input_digests import digest_inputs as digest

    paths = {"items": items_path, "clicks": clicks_path, "images": images_path, "judgments": judgments_path}
    known = {"items": items_digest, "clicks": clicks_digest, "images": images_digest, "judgments": judgments_digest}
    found = digest(paths, known, column_map, gate_section)
    return tuple(found[name] for name in paths)
