"""Kinds of values that settings have: ranges of numbers, and names."""

from typing import Annotated, Literal

from pydantic import Field

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]

Arm = Literal["id_only", "llm_only", "id2llm", "llm2id", "both"]
Side = Literal["id", "llm"]
Task = Literal["ranking", "ctr"]
