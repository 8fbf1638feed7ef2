"""The refresh pipeline, meant as a recurring run: the registered model takes in a new catalogue, and becomes champion if it may.

```
find_versions ──▶ fetch_models ──▶ prepare_refresh ──▶ export_embeddings ──▶ decide_promotion ──▶ record_refresh ──▶ promote
digest_inputs ──▶ every task that reads files
all of them ──▶ end_run, however they ended
```

Nothing is trained: model, vocabulary and gate are those of a registered version. The bundle of the new catalogue is compared with
the champion's on the queries of a click log, and is promoted only where it is not significantly worse
(``smar_core.evaluation.catalogues`` says on which items).

A training registers its bundle as ``newest`` and never as ``champion``. The first refresh finds no champion, takes the newest
version and makes one; later, ``model=newest`` lets a retrained model compete with the champion under the same rule. The log
should be of days on which neither was trained: a model that was trained on them would win by having seen the answers.

The tasks before ``fetch_models`` and after ``decide_promotion`` are never cached. They read and write the registry and look at
the input files, and they hand the stages between them nothing but versions and content digests. So a recurring run, whose
parameters are the same every time, sees a file that was replaced, and does nothing anew where none was.
"""

from collections.abc import Mapping

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.decide_promotion import decide_promotion
from components.export_embeddings import export_embeddings
from components.fetch_models import fetch_models
from components.find_versions import find_versions
from components.prepare_refresh import prepare_refresh
from components.promote import promote
from components.record_refresh import record_refresh
from pipelines.placement import PROMOTION, Channel, Placement, pipeline_config
from pipelines.stages import add_digests
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
        with placement.ending():
            _add_tasks(
                placement,
                model,
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
                {
                    "prepare": prepare,
                    "beam": beam,
                    "export": export,
                    "evaluate": evaluate,
                    "promotion": promotion,
                    "runtime": runtime,
                    "tracking": tracking,
                },
                {
                    "fetch_models": code_fetch_models,
                    "prepare_refresh": code_prepare_refresh,
                    "export_embeddings": code_export_embeddings,
                    "decide_promotion": code_decide_promotion,
                },
            )

    return pipeline


def _add_tasks(
    placement: Placement,
    model: Channel,
    files: Mapping[str, Channel],
    known: Mapping[str, Channel],
    sections: Mapping[str, Channel],
    code: Mapping[str, Channel],
) -> None:
    """Add all tasks of a refresh to the pipeline that is being defined.

    Args:
        placement: Where the tasks run.
        model: Alias of the version whose model and gate are used.
        files: Paths of the input files, and the column map.
        known: Digests of the input files, "" where the run itself is to take them.
        sections: Config sections as JSON, by name.
        code: Digest of each stage's code.
    """
    runtime = sections["runtime"]
    catalogue = {name: files[name] for name in ("items_path", "clicks_path", "images_path", "column_map")}
    digests = add_digests(files, known, placement)
    of_judgments = digests.pop("judgments_digest")
    found = placement.place(find_versions(model=model, tracking_section=sections["tracking"])).set_caching_options(False).outputs
    fetched = placement.place(
        fetch_models(
            model_name=found["model_name"],
            model_version=found["model_version"],
            finetuned_digest=found["finetuned_digest"],
            gate_digest=found["gate_digest"],
            champion_version=found["champion_version"],
            champion_digest=found["champion_digest"],
            runtime=runtime,
            code_digest=code["fetch_models"],
        )
    ).outputs
    encoder = {"finetuned": fetched["finetuned"], "gate": fetched["gate"]}
    prepared = placement.place(
        prepare_refresh(
            finetuned=fetched["finetuned"],
            champion=fetched["champion"],
            **catalogue,
            **digests,
            prepare_section=sections["prepare"],
            beam_section=sections["beam"],
            runtime=runtime,
            code_digest=code["prepare_refresh"],
        )
    ).outputs
    bundle = placement.place(
        export_embeddings(
            items=prepared["items"],
            **encoder,
            export_section=sections["export"],
            runtime=runtime,
            code_digest=code["export_embeddings"],
        )
    ).outputs["bundle"]
    decided = placement.place(
        decide_promotion(
            champion=fetched["champion"],
            bundle=bundle,
            reference=prepared["reference"],
            has_champion=found["has_champion"],
            judgments_path=files["judgments_path"],
            column_map=files["column_map"],
            judgments_digest=of_judgments,
            promotion_section=sections["promotion"],
            evaluate_section=sections["evaluate"],
            runtime=runtime,
            code_digest=code["decide_promotion"],
        )
    ).outputs
    recorded = placement.place(
        record_refresh(
            **encoder,
            **{name: prepared[name] for name in ("items", "reference", "rejects")},
            champion=fetched["champion"],
            bundle=bundle,
            decision=decided["decision"],
            model_version=found["model_version"],
            champion_version=found["champion_version"],
            **digests,
            judgments_digest=of_judgments,
            **{f"{name}_section": section for name, section in sections.items() if name != "tracking"},
        )
    ).set_caching_options(False)
    with dsl.If(decided["Output"] == "promote", name=PROMOTION):
        placement.place(
            promote(
                bundle=bundle,
                **encoder,
                champion_version=found["champion_version"],
                has_champion=found["has_champion"],
                **digests,
                judgments_digest=of_judgments,
                tracking_section=sections["tracking"],
            )
        ).set_caching_options(False).after(recorded)
