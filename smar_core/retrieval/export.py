"""The stage that turns a fine-tuned model and a gate into a bundle.

The catalogue is sorted by item id first, so that everywhere downstream a row is an item's place in that order. All three
embeddings are kept: S_t and S_m are indexed, or under an item-side gate one of the two for each item; S_i is there for
evaluation and for whoever wants to look. As Parquet they are about as large as the indexes. Left out: float16 or int8
embeddings, which would halve or quarter that.
"""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from smar_core.artifact import Artifact, create_artifact, write_json
from smar_core.config import ExportConfig, RuntimeConfig
from smar_core.errors import UserError
from smar_core.model.device import resolve_device
from smar_core.model.encoding import CatalogueEmbeddings, encode_catalogue
from smar_core.model.gate import Gate
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.retrieval.bundle import id_order, index_file
from smar_core.retrieval.index import ItemIndex, check_parameters
from smar_core.retrieval.truncation import exported_dims, truncate
from smar_core.schemas import EMBEDDINGS, SCHEMA_VERSION, embedding_schema
from smar_core.stage import StageContext


def export_embeddings(
    items: Artifact,
    finetuned: Artifact,
    gate: Artifact,
    output: Path,
    config: ExportConfig,
    runtime: RuntimeConfig,
    context: StageContext,
) -> dict[str, float]:
    """Encode the catalogue, index it, and write the bundle.

    Args:
        items: Artifact of kind ``items``.
        finetuned: Artifact of kind ``model``.
        gate: Artifact of kind ``gate``.
        output: Folder of the bundle.
        config: The index and its parameters.
        runtime: Device and threads.
        context: Surroundings of the stage.

    Returns:
        Sizes of the catalogue and of an index.

    Raises:
        UserError: The index' parameters or the number of dimensions do not fit the model, the model lacks what the gate routes
            to, or an item-side gate was trained with another catalogue.
    """
    torch.set_num_threads(runtime.num_threads)
    device = resolve_device(runtime)
    model = SmarModel.from_pretrained(finetuned.path)
    num_dims = exported_dims(config.num_dims, model.config)
    check_parameters(config, num_dims)
    tokenizer = TextTokenizer.load(finetuned.path / "tokenizer.json")
    exported_gate = Gate.load(gate.path)
    for tower in exported_gate.towers:
        if tower not in model.item_towers:
            raise UserError(
                f"gate.mode={exported_gate.mode} needs the {tower} tower, and the model has {list(model.item_towers)}",
                "train the gate for this model",
            )
    if exported_gate.is_on_items:  # before hours of encoding
        exported_gate.item_probabilities(items.read_table("items", ["item_id"])["item_id"].to_pylist())
    embeddings = encode_catalogue(model, tokenizer, items, batch_size=config.batch_size, device=device, progress=context.progress)
    embeddings = replace(embeddings, by_tower={tower: truncate(x_ND, num_dims) for tower, x_ND in embeddings.by_tower.items()})
    table = embedding_table(items, embeddings)
    represented = exported_gate.represent(embeddings.item_ids, embeddings.by_tower)
    with create_artifact(output, "bundle", config_digest=context.config_digest, parents=context.parents) as folder:
        pq.write_table(table, folder / "embeddings.parquet")
        order = id_order(embeddings.item_ids)
        for done, (modality, item_ND) in enumerate(represented.items(), 1):
            index = ItemIndex.build(item_ND[order], config)
            index.save(folder / index_file(modality))
            context.progress.update("index", done, len(represented))
        model.query_tower.save_pretrained(folder / "query_tower")
        exported_gate.save(folder / "gate")
        tokenizer.save(folder / "tokenizer.json")
        settings = {
            "schema_version": SCHEMA_VERSION,
            "embed_dim": num_dims,
            "model_embed_dim": model.config.embed_dim,
            "item_towers": list(model.item_towers),
            "max_query_tokens": model.config.max_query_tokens,
            "num_items": table.num_rows,
            "num_items_with_image": int(embeddings.has_image.sum()),
            "index": dict(index.settings),
            "gate": {
                "mode": exported_gate.mode,
                "side": exported_gate.side,
                "supervision": exported_gate.supervision,
                "threshold": exported_gate.threshold,
                "visual_categories": list(exported_gate.visual_categories),
            },
            "digests": {"items": items.digest, "model": finetuned.digest, "gate": gate.digest},
        }
        write_json(folder / "bundle.json", settings)
    return {
        "num_items": float(table.num_rows),
        "share_with_image": float(embeddings.has_image.mean()),
        "index_megabytes": round((output / index_file(exported_gate.modalities[0])).stat().st_size / 1e6, 3),
    }


def embedding_table(items: Artifact, embeddings: CatalogueEmbeddings) -> pa.Table:
    """Return the exported items in the order of their ids, in the schema ``embedding_schema``."""
    metadata = items.read_table("items", ["item_id", "title", "brand", "category", "has_image"])
    assert metadata["item_id"].to_pylist() == embeddings.item_ids
    order = id_order(embeddings.item_ids)
    by_tower = embeddings.by_tower
    schema = embedding_schema(next(iter(by_tower.values())).shape[1], by_tower.keys())
    vectors = [
        pa.FixedSizeListArray.from_arrays(pa.array(by_tower[tower][order].ravel()), type=schema.field(tower).type)
        for tower in EMBEDDINGS
        if tower in by_tower
    ]
    columns = [*metadata.take(pa.array(order)).columns, *vectors]
    return pa.Table.from_arrays(columns, schema=schema)
