"""What every section is made of: the base class, and the kinds of values that several of them hold."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Tower = Literal["query", "text", "image", "multimodal"]
ItemTower = Literal["text", "image", "multimodal"]


class Section(BaseModel):
    """Base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: Any) -> Any:
        """No setting is a truth value, and YAML's yes and on must not become the number 1."""
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()} is no value for it: give a number or a word, in quotes if need be")
        return value
