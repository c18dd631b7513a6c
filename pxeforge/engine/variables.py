"""Variables of roles: their types, and which values they may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from pxeforge.engine.templates import is_template

VariableType = Literal["string", "int", "bool", "list", "map"]
_TYPES: Mapping[str, type] = {"string": str, "int": int, "bool": bool, "list": list, "map": dict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A value that an operator may set; `default` None means that it must be set.

    `choices`: the only values; `pattern`: what a string must be from end to end; `least` and `most` bound a number;
    `names`: a NIC of its host is what it names, or nothing when it is empty.
    """

    name: str
    type: VariableType
    default: Any
    help: str
    secret: bool
    choices: tuple[Any, ...] = ()
    pattern: str | None = None
    least: int | None = None
    most: int | None = None
    names: Literal["nic"] | None = None

    @property
    def allowed(self) -> str:
        """Which values it may have, in words; '' for any of its type."""
        if self.choices:
            return "one of " + ", ".join(repr(one) if one == "" else str(one) for one in self.choices)
        if self.pattern is not None:
            return f"text that fits {self.pattern}"
        if self.names is not None:
            return "the name of a NIC of the host, or nothing"
        if self.least is not None and self.most is not None:
            return f"a number from {self.least} to {self.most}"
        if self.least is not None or self.most is not None:
            return f"{self.least} or more" if self.least is not None else f"{self.most} or less"
        return ""

    def check(self, value: object) -> None:
        """Raises ValueError with a sentence that says which values are allowed."""
        require_type(self.type, value)
        fits = not self.choices or value in self.choices
        if self.pattern is not None and isinstance(value, str):
            fits = re.fullmatch(self.pattern, value) is not None
        if isinstance(value, int) and not isinstance(value, bool):
            fits = fits and (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        if not fits:
            meaning = f" ({self.help})" if self.pattern is not None and self.help else ""
            raise ValueError(f"it must be {self.allowed}, not {value!r}{meaning}")


class RawVariable(BaseModel):
    """A variable as a role.yaml has it."""

    model_config = ConfigDict(extra="forbid")

    type: VariableType = "string"
    default: Any = None
    help: str = ""
    secret: bool = False
    choices: list[str | int] | None = None
    pattern: str | None = None
    min: int | None = None
    max: int | None = None
    names: Literal["nic"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> RawVariable:
        limits = [self.choices, self.pattern, self.min, self.max, self.names]
        if self.secret and (
            self.default is not None or self.type != "string" or any(one is not None for one in limits)
        ):
            raise ValueError("a secret is a generated string: remove its type, default and limits")
        self._check_limits()
        if self.default is not None and not (isinstance(self.default, str) and is_template(self.default)):
            self.variable("").check(self.default)
        return self

    def _check_limits(self) -> None:
        if (self.pattern is not None or self.names is not None) and self.type != "string":
            raise ValueError("pattern and names belong to strings: remove them, or the type")
        if (self.min is not None or self.max is not None) and self.type != "int":
            raise ValueError("min and max belong to numbers: write `type: int`")
        if self.choices is not None and (not self.choices or self.type not in ("string", "int")):
            raise ValueError("choices are values of a string or a number: write them as a list")
        for one in self.choices or ():
            require_type(self.type, one)
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern is no regular expression ({error}): correct it") from None

    def variable(self, name: str) -> Variable:
        return Variable(
            name=name, type=self.type, default=self.default, help=self.help, secret=self.secret,
            choices=tuple(self.choices or ()), pattern=self.pattern, least=self.min, most=self.max, names=self.names,
        )  # fmt: skip


def require_type(type_name: str, value: object) -> None:
    """Raises ValueError with a sentence when the value has not the type of its variable."""
    fits = isinstance(value, _TYPES[type_name]) and not (type_name == "int" and isinstance(value, bool))
    if not fits:
        remedy = ": write it in quotes" if type_name == "string" and isinstance(value, int | float) else ""
        raise ValueError(f"it must be of type {type_name}, not {value!r}{remedy}")
