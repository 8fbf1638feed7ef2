"""The refresh pipeline, meant as a recurring run: the registered model takes in a new catalogue, and becomes champion if it may.

```
find_versions ──▶ fetch_models ──▶ prepare_refresh ──▶ export_embeddings ──▶ decide_promotion ──▶ record_refresh ──▶ promote
digest_inputs ──▶ every task that reads files
```

Nothing is trained: model, vocabulary and gate are those of a registered version. The bundle of the new catalogue is compared with
the champion's on the queries of a click log, and is promoted only where it is not significantly worse
(``smar_core.evaluation.catalogues`` says on which items).

A training registers its bundle as ``newest`` and never as ``champion``. The first refresh finds no champion, takes the newest
version and makes one; later, ``model=newest`` lets a retrained model compete with the champion under the same rule. The log
should be of days on which neither was trained: a model that was trained on them would win by having seen the answers.

The first two tasks and the last two are never cached. They read and write the registry and look at the input files, and they hand
the stages between them nothing but versions and content digests. So a recurring run, whose parameters are the same every time,
sees a file that was replaced, and does nothing anew where none was.
"""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.decide_promotion import decide_promotion
from components.digest_inputs import digest_inputs
from components.export_embeddings import export_embeddings
from components.fetch_models import fetch_models
from components.find_versions import find_versions
from components.prepare_refresh import prepare_refresh
from components.promote import promote
from components.record_refresh import record_refresh
from pipelines.placement import Placement, pipeline_config
from smar_core.config import ClusterConfig

NAME = "smar-refresh"
DESCRIPTION = "A new catalogue for the registered model: exported, compared with the champion, and promoted if it is not worse."


def refresh_pipeline(cluster: ClusterConfig | None) -> GraphComponent:
    """Return the pipeline.

    Args:
        cluster: Where its tasks run; None: they are not placed.
    """

    @dsl.pipeline(name=NAME, description=DESCRIPTION, pipeline_config=pipeline_config(cluster, has_workspace=False))
    def pipeline(
        image: str,
        items: str,
        clicks: str,
        model: str = "champion",
        images: str = "",
        column_map: str = "{}",
        judgments: str = "",
        items_digest: str = "",
        clicks_digest: str = "",
        images_digest: str = "",
        judgments_digest: str = "",
        prepare: str = "{}",
        beam: str = "{}",
        export: str = "{}",
        evaluate: str = "{}",
        promotion: str = "{}",
        runtime: str = "{}",
        tracking: str = "{}",
        code_fetch_models: str = "",
        code_prepare_refresh: str = "",
        code_export_embeddings: str = "",
        code_decide_promotion: str = "",
    ) -> None:
        """Wire the stages.

        Args:
            image: Container image, by digest, that every task runs in.
            items: The new catalogue: file, folder or URI.
            clicks: Click log of the reference queries: file, folder or URI.
            model: Alias of the version whose model and gate are used.
            images: Folder or URI that image paths of the catalogue are relative to; "" for none.
            column_map: JSON of the input's column for each of our fields that is named otherwise.
            judgments: Graded judgments; "" for none.
            items_digest: Digest of the catalogue's files; "" where the run itself is to take it, as a recurring one must.
            clicks_digest: Likewise of the click log's files.
            images_digest: Likewise of the pictures' files.
            judgments_digest: Likewise of the judgments' files.
            prepare: Config section as JSON; so are beam, export, evaluate, promotion, runtime and tracking.
            code_fetch_models: Digest of the stage's code; likewise for the other stages.
        """
        placement = Placement(image, cluster)
        digested = (
            placement.place(
                digest_inputs(
                    items_path=items,
                    clicks_path=clicks,
                    images_path=images,
                    judgments_path=judgments,
                    column_map=column_map,
                    items_digest=items_digest,
                    clicks_digest=clicks_digest,
                    images_digest=images_digest,
                    judgments_digest=judgments_digest,
                )
            )
            .set_caching_options(False)
            .outputs
        )
        of_judgments = digested["judgments_digest"]
        digests = {name: digested[name] for name in ("items_digest", "clicks_digest", "images_digest")}
        found = placement.place(find_versions(model=model, tracking_section=tracking)).set_caching_options(False).outputs
        fetched = placement.place(
            fetch_models(
                model_name=found["model_name"],
                model_version=found["model_version"],
                finetuned_digest=found["finetuned_digest"],
                gate_digest=found["gate_digest"],
                champion_version=found["champion_version"],
                champion_digest=found["champion_digest"],
                runtime=runtime,
                code_digest=code_fetch_models,
            )
        ).outputs
        prepared = placement.place(
            prepare_refresh(
                finetuned=fetched["finetuned"],
                champion=fetched["champion"],
                items_path=items,
                clicks_path=clicks,
                images_path=images,
                column_map=column_map,
                prepare_section=prepare,
                beam_section=beam,
                runtime=runtime,
                code_digest=code_prepare_refresh,
                **digests,
            )
        ).outputs
        bundle = placement.place(
            export_embeddings(
                items=prepared["items"],
                finetuned=fetched["finetuned"],
                gate=fetched["gate"],
                export_section=export,
                runtime=runtime,
                code_digest=code_export_embeddings,
            )
        ).outputs["bundle"]
        decided = placement.place(
            decide_promotion(
                champion=fetched["champion"],
                bundle=bundle,
                reference=prepared["reference"],
                has_champion=found["has_champion"],
                judgments_path=judgments,
                column_map=column_map,
                judgments_digest=of_judgments,
                promotion_section=promotion,
                evaluate_section=evaluate,
                runtime=runtime,
                code_digest=code_decide_promotion,
            )
        ).outputs
        recorded = placement.place(
            record_refresh(
                finetuned=fetched["finetuned"],
                gate=fetched["gate"],
                champion=fetched["champion"],
                items=prepared["items"],
                reference=prepared["reference"],
                rejects=prepared["rejects"],
                bundle=bundle,
                decision=decided["decision"],
                model_version=found["model_version"],
                champion_version=found["champion_version"],
                judgments_digest=of_judgments,
                prepare_section=prepare,
                beam_section=beam,
                export_section=export,
                evaluate_section=evaluate,
                promotion_section=promotion,
                runtime_section=runtime,
                **digests,
            )
        ).set_caching_options(False)
        with dsl.If(decided["Output"] == "promote", name="may-be-promoted"):
            placement.place(
                promote(
                    bundle=bundle,
                    finetuned=fetched["finetuned"],
                    gate=fetched["gate"],
                    champion_version=found["champion_version"],
                    has_champion=found["has_champion"],
                    judgments_digest=of_judgments,
                    tracking_section=tracking,
                    **digests,
                )
            ).set_caching_options(False).after(recorded)

    return pipeline
