"""The bundle as an MLflow model: ``mlflow.pyfunc.load_model("models:/smar@newest").predict(["blue dress"])``.

MLflow runs this file when it loads the model ("models from code"), so that nothing is pickled. It needs the package ``smar``.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedBundle(PythonModel):
    """Answers queries from a bundle, each routed by P(q)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle among the model's artifacts."""
        from smar_core.retrieval.bundle import Bundle

        self._bundle = Bundle.open(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[list[dict[str, Any]]]:
        """Return the hits of each query, best first.

        Args:
            context: Unused; the bundle is open.
            model_input: Queries as users type them: what MLflow makes of the list that its own ``predict`` is given.
            params: ``top_k``; what is in the model's signature, with its default, is always there.
        """
        queries = model_input.iloc[:, 0].tolist()
        return [[vars(hit) for hit in hits] for hits in self._bundle.search(queries, int((params or {})["top_k"]))]


set_model(ServedBundle())
