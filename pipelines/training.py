"""The training pipeline: input digests, seven stages, a task that ties them together in MLflow, one that follows in any case.

Config sections are JSON strings, because numbers inside dict parameters arrive as floats; a key that is absent takes its
default. Digests are parameters, because Kubeflow's cache knows paths and not contents; those of input files that are not given
are taken by the first task. On a cluster the digests of code may stay empty: there the image tag is part of the cache key.
"""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.prepare_data import prepare_data
from components.record_run import record_run
from pipelines.placement import Placement, pipeline_config
from pipelines.stages import add_digests, add_training_stages
from smar_core.config import ClusterConfig

NAME = "smar-training"
DESCRIPTION = "Semantic-enhanced modality-asymmetric retrieval: from a catalogue and a click log to a bundle."


def training_pipeline(cluster: ClusterConfig | None) -> GraphComponent:
    """Return the pipeline.

    Args:
        cluster: Where its tasks run; None: they are not placed.
    """

    @dsl.pipeline(name=NAME, description=DESCRIPTION, pipeline_config=pipeline_config(cluster))
    def pipeline(
        image: str,
        items: str,
        clicks: str,
        images: str = "",
        column_map: str = "{}",
        judgments: str = "",
        items_digest: str = "",
        clicks_digest: str = "",
        images_digest: str = "",
        judgments_digest: str = "",
        prepare: str = "{}",
        beam: str = "{}",
        synthetic: str = "{}",
        model: str = "{}",
        loss: str = "{}",
        pretrain: str = "{}",
        gate: str = "{}",
        finetune: str = "{}",
        export: str = "{}",
        evaluate: str = "{}",
        runtime: str = "{}",
        tracking: str = "{}",
        code_prepare_data: str = "",
        code_generate_synthetic_queries: str = "",
        code_pretrain: str = "",
        code_train_gate: str = "",
        code_finetune: str = "",
        code_export_embeddings: str = "",
        code_evaluate: str = "",
    ) -> None:
        """Wire the stages.

        Args:
            image: Container image, by digest, that every task runs in.
            items: Catalogue: file, folder or URI.
            clicks: Click log: file, folder or URI.
            images: Folder or URI that image paths of the catalogue are relative to; "" for none.
            column_map: JSON of the input's column for each of our fields that is named otherwise.
            judgments: Graded judgments; "" for none.
            items_digest: Digest of the catalogue's files; "" where the run itself is to take it, as on Kubeflow's page.
            clicks_digest: Likewise of the click log's files.
            images_digest: Likewise of the pictures' files.
            judgments_digest: Likewise of the judgments' files.
            prepare: Config section as JSON; so are beam, synthetic, model, loss, pretrain, gate, finetune, export, evaluate,
                runtime and tracking.
            code_prepare_data: Digest of the stage's code; likewise for the other stages.
        """
        placement = Placement(image, cluster)
        with placement.ending():
            digests = add_digests(
                {
                    "items_path": items,
                    "clicks_path": clicks,
                    "images_path": images,
                    "judgments_path": judgments,
                    "column_map": column_map,
                },
                {
                    "items_digest": items_digest,
                    "clicks_digest": clicks_digest,
                    "images_digest": images_digest,
                    "judgments_digest": judgments_digest,
                },
                placement,
                gate,
            )
            prepared = placement.place(
                prepare_data(
                    items_path=items,
                    clicks_path=clicks,
                    images_path=images,
                    column_map=column_map,
                    items_digest=digests["items_digest"],
                    clicks_digest=digests["clicks_digest"],
                    images_digest=digests["images_digest"],
                    prepare_section=prepare,
                    beam_section=beam,
                    runtime=runtime,
                    code_digest=code_prepare_data,
                )
            ).outputs
            artifacts, _ = add_training_stages(
                prepared,
                {
                    "beam": beam,
                    "synthetic": synthetic,
                    "model": model,
                    "loss": loss,
                    "pretrain": pretrain,
                    "gate": gate,
                    "finetune": finetune,
                    "export": export,
                    "evaluate": evaluate,
                    "runtime": runtime,
                },
                {
                    "generate_synthetic_queries": code_generate_synthetic_queries,
                    "pretrain": code_pretrain,
                    "train_gate": code_train_gate,
                    "finetune": code_finetune,
                    "export_embeddings": code_export_embeddings,
                    "evaluate": code_evaluate,
                },
                judgments,
                digests["judgments_digest"],
                column_map,
                placement,
            )
            placement.place(
                record_run(
                    **artifacts,
                    **digests,
                    prepare_section=prepare,
                    beam_section=beam,
                    synthetic_section=synthetic,
                    model_section=model,
                    loss_section=loss,
                    pretrain_section=pretrain,
                    gate_section=gate,
                    finetune_section=finetune,
                    export_section=export,
                    evaluate_section=evaluate,
                    runtime_section=runtime,
                    tracking_section=tracking,
                )
            ).set_caching_options(False)

    return pipeline
