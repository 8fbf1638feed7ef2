"""What several pipelines have in common, wired once; called inside a pipeline, a function adds its tasks."""

from collections.abc import Mapping

from components.digest_inputs import digest_inputs
from components.evaluate import evaluate
from components.export_embeddings import export_embeddings
from components.finetune import finetune
from components.generate_synthetic_queries import generate_synthetic_queries
from components.pretrain import pretrain
from components.train_gate import train_gate
from pipelines.placement import Channel, Placement


def add_digests(
    files: Mapping[str, Channel], known: Mapping[str, Channel], placement: Placement, gate: Channel = ""
) -> dict[str, Channel]:
    """Add the task that says what the input files hold, which is never cached.

    Args:
        files: Paths of the input files, and the column map, by parameter of ``digest_inputs``.
        known: Their digests, likewise; "" where the run itself is to take it.
        placement: Where the task runs.
        gate: Config section, as JSON, of a gate that must be able to learn from the catalogue. On this machine the command line
            has looked at that already.

    Returns:
        What ``known`` names.
    """
    is_looked_at = placement.cluster is None
    task = placement.place(digest_inputs(**files, **known, gate_section="" if is_looked_at else gate)).set_caching_options(False)
    return {name: task.outputs[name] for name in known}


def add_training_stages(
    prepared: Mapping[str, Channel],
    sections: Mapping[str, Channel],
    code: Mapping[str, Channel],
    judgments: Channel,
    judgments_digest: Channel,
    column_map: Channel,
    placement: Placement,
) -> tuple[dict[str, Channel], dict[str, Channel]]:
    """Add the six stages from synthetic queries to evaluation.

    Args:
        prepared: Artifacts of ``prepare_data``, by name.
        sections: Config sections as JSON, by name.
        code: Digest of each stage's code.
        judgments: Graded judgments; "" for none.
        judgments_digest: Digest of their files.
        column_map: JSON of the judgments' columns that are named otherwise.
        placement: Where the tasks run.

    Returns:
        Artifacts by a name of ``components.stage.ARTIFACT_KINDS``, ``prepared`` among them, and the metrics of each stage.
    """
    data = {"items": prepared["items"], "clicks": prepared["clicks"]}
    runtime = sections["runtime"]
    drawn = placement.place(
        generate_synthetic_queries(
            **data,
            tokenizer=prepared["tokenizer"],
            synthetic_section=sections["synthetic"],
            beam_section=sections["beam"],
            runtime=runtime,
            code_digest=code["generate_synthetic_queries"],
        )
    ).outputs
    pretrained = placement.place(
        pretrain(
            **data,
            tokenizer=prepared["tokenizer"],
            synthetic=drawn["synthetic"],
            model_section=sections["model"],
            loss_section=sections["loss"],
            pretrain_section=sections["pretrain"],
            runtime=runtime,
            code_digest=code["pretrain"],
            workspace=placement.workspace,
        )
    ).outputs
    gated = placement.place(
        train_gate(
            **data,
            pretrained=pretrained["pretrained"],
            gate_section=sections["gate"],
            runtime=runtime,
            code_digest=code["train_gate"],
        )
    ).outputs
    finetuned = placement.place(
        finetune(
            **data,
            pretrained=pretrained["pretrained"],
            gate=gated["gate"],
            loss_section=sections["loss"],
            finetune_section=sections["finetune"],
            runtime=runtime,
            code_digest=code["finetune"],
            workspace=placement.workspace,
        )
    ).outputs
    exported = placement.place(
        export_embeddings(
            items=prepared["items"],
            finetuned=finetuned["finetuned"],
            gate=gated["gate"],
            export_section=sections["export"],
            runtime=runtime,
            code_digest=code["export_embeddings"],
        )
    ).outputs
    evaluated = placement.place(
        evaluate(
            **data,
            synthetic=drawn["synthetic"],
            pretrained=pretrained["pretrained"],
            gate=gated["gate"],
            finetuned=finetuned["finetuned"],
            bundle=exported["bundle"],
            judgments_path=judgments,
            column_map=column_map,
            judgments_digest=judgments_digest,
            evaluate_section=sections["evaluate"],
            runtime=runtime,
            code_digest=code["evaluate"],
        )
    ).outputs
    outputs = {
        "generate_synthetic_queries": drawn,
        "pretrain": pretrained,
        "train_gate": gated,
        "finetune": finetuned,
        "export_embeddings": exported,
        "evaluate": evaluated,
    }
    artifacts = {
        **{name: prepared[name] for name in ("items", "clicks", "tokenizer", "rejects")},
        "synthetic": drawn["synthetic"],
        "pretrained": pretrained["pretrained"],
        "gate": gated["gate"],
        "finetuned": finetuned["finetuned"],
        "bundle": exported["bundle"],
        "evaluation": evaluated["evaluation"],
    }
    return artifacts, {stage: of["metrics"] for stage, of in outputs.items()}
