"""What experiments keep in JSON files: validated on reading, written whole or not at all."""

import json
import uuid
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from smar_core.errors import UserError
from smar_core.evaluation.bootstrap import Interval

MEASURE = "R@50"
"""The measure that trials are compared by, and that is kept by query."""

COMPARED_SLICES = ("overall", "fashion", "not_fashion")
"""Slices that trials are compared on; one without a query is left out."""

DIGITS = 6
"""Decimals of every figure: a thousandth of what one more found item is to the mean of 1,700 queries."""


class Record(BaseModel):
    """Base of all of them: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def write(self, path: Path) -> None:
        """Write it atomically, a line a key, so that a changed file shows what changed and stays small."""
        lines = (
            f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ': '))}"
            for key, value in self.model_dump(mode="json").items()
        )
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")  # of its own: trials that run at once share a folder
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one.

        Raises:
            UserError: The file cannot be read as one.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})", "bring it back") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or first["msg"]
            raise UserError(f"{path} is no {cls.__name__.lower()} of this version ({where})", "move it away") from None


class Cell(Record):
    """A value with its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval) -> "Cell":
        """Return an interval, rounded."""
        return cls(value=round(interval.value, DIGITS), low=round(interval.low, DIGITS), high=round(interval.high, DIGITS))
