"""Component that prepares a new catalogue for a model that exists, and the queries to judge it by."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def prepare_refresh(
    finetuned: dsl.Input[dsl.Model],
    champion: dsl.Input[dsl.Model],
    items: dsl.Output[dsl.Dataset],
    reference: dsl.Output[dsl.Dataset],
    rejects: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    items_path: str,
    clicks_path: str,
    images_path: str,
    column_map: str,
    items_digest: str,
    clicks_digest: str,
    images_digest: str,
    prepare_section: str,
    beam_section: str,
    runtime: str,
    code_digest: str,
) -> None:
    """Clean the new catalogue with the model's size of pictures, and the click log of reference queries.

    Args:
        finetuned: The model.
        champion: The bundle that is served now; clicks on its items are known.
        items: The cleaned catalogue with its pictures.
        reference: Clicks of the reference queries.
        rejects: Rows that could not be used, and why.
        metrics: Figures of the stage.
        items_path: Catalogue: file, folder or URI.
        clicks_path: Click log: file, folder or URI.
        images_path: What image paths of the catalogue are relative to; "" for none.
        column_map: JSON of the input's column for each of our fields that is named otherwise.
        items_digest: Digest of the catalogue's files, for the cache and for lineage.
        clicks_digest: Digest of the click log's files.
        images_digest: Digest of the pictures' files; "" for none.
        prepare_section: Config section ``prepare`` as JSON.
        beam_section: Config section ``beam`` as JSON.
        runtime: Config section ``runtime`` as JSON.
        code_digest: Digest of the code that runs here, for the cache.
    """
    import json

    from components.stage import open_stage
    from smar_core.config import BeamConfig, PrepareConfig

    with open_stage(
        "prepare_refresh",
        inputs={"finetuned": finetuned, "champion": champion},
        outputs={"items": items, "reference": reference, "rejects": rejects},
        sections={"prepare": prepare_section, "beam": beam_section, "runtime": runtime},
        metrics=metrics,
        code_digest=code_digest,
        files={"items_file": items_digest, "clicks_file": clicks_digest, "images_file": images_digest},
    ) as stage:
        from smar_core.data.refresh import RefreshOutputs
        from smar_core.data.refresh import prepare_refresh as prepare
        from smar_core.data.sources import Sources

        stage.figures = prepare(
            Sources(items_path, clicks_path, images_path or None, json.loads(column_map)),
            stage.inputs["finetuned"],
            stage.inputs["champion"],
            RefreshOutputs(**stage.outputs),
            stage.section(PrepareConfig),
            stage.section(BeamConfig),
            stage.context,
        )
