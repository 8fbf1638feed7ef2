"""Options that several commands of ``smar`` share, and what is made of them."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smar_core.data.sources import Sources

Items = Annotated[str, typer.Option(help="Catalogue: Parquet, CSV or JSON lines; file, folder or URI. Needs item_id and title.")]
Clicks = Annotated[str, typer.Option(help="Click log, likewise. Needs query, item_id and timestamp.")]
Judgments = Annotated[str | None, typer.Option(help="Graded judgments (query, item_id, grade), for evaluation alone.")]
Images = Annotated[str | None, typer.Option(help="Folder or URI that image paths of the catalogue are relative to.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN", help="Your column for one of our fields, for example title=name. Repeatable."),
]
Preset = Annotated[str, typer.Option(help="Settings to start from: demo, study, small or paper.")]
Variant = Annotated[
    str, typer.Option(help="Model: smar, smar-nc, smar-concat, smar-ni, smar-nt, smar-nm, smar-always, dpsr or dpsr-i.")
]
_SETTING = "SECTION.KEY=VALUE"
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar=_SETTING, help="Override a setting, for example pretrain.num_steps=200. Repeatable."),
]
RefreshOverrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar=_SETTING, help="Override a setting, for example promotion.max_drop=0.01. Repeatable."),
]
ClusterOverrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="cluster.KEY=VALUE", help="Say where tasks run: cluster.scratch_gib=50. Repeatable."),
]
TrackingOverrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="tracking.KEY=VALUE", help="Say where runs are tracked: tracking.uri=URI. Repeatable."),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Run every stage, even those whose inputs, settings and code are unchanged.")
]


class Runner(StrEnum):
    """How a stage runs."""

    subprocess = "subprocess"
    docker = "docker"


RunnerOption = Annotated[Runner, typer.Option(help="Run each stage in a process of this environment, or in a container.")]


def read_sources(items: str, clicks: str, images: str | None, columns: list[str] | None) -> "Sources":
    """Return the input files with absolute paths.

    Raises:
        UserError: A column map that is malformed.
    """
    from pipelines.preflight import absolute, parse_column_map
    from smar_core.data.sources import Sources

    return Sources(
        items=absolute(items),
        clicks=absolute(clicks),
        images=absolute(images) if images is not None else None,
        column_map=parse_column_map(columns or []),
    )
