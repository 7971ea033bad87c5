# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses as plain JSON values and back, checked field by field.

What is read may come from another version or another person: a field that is
unknown, missing or of another type is named, and nothing is filled in silently.
"""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from i2z_jax.errors import InputError

Record = TypeVar("Record")


def to_json(record: Any) -> Any:
    """Nested dataclasses and tuples as dicts and lists, paths as text."""
    if dataclasses.is_dataclass(record):
        fields = dataclasses.fields(record)
        return {f.name: to_json(getattr(record, f.name)) for f in fields}
    if isinstance(record, tuple | list):
        return [to_json(item) for item in record]
    if isinstance(record, dict):
        return {key: to_json(item) for key, item in record.items()}
    return str(record) if isinstance(record, Path) else record


def from_json(
    cls: type[Record], value: object, *, where: str | Path, name: str = ""
) -> Record:
    """The inverse of `to_json` for the dataclass `cls`.

    Args:
        cls: a dataclass with annotated fields.
        value: what `json.load` gave.
        where: the file it came from, for error messages.
        name: dotted name of the value inside the file, for error messages.

    Raises:
        InputError: an unknown or missing field, or a value of another type.
    """
    if not isinstance(value, dict):
        raise InputError(
            f"{name or 'content'} is not an object", where=where, got=repr(value)
        )
    hints = typing.get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}  # pyrefly: ignore
    for kind, wrong in (
        ("unknown", value.keys() - names),
        ("missing", names - value.keys()),
    ):
        if wrong:
            fields = ", ".join(f"{name}.{w}".lstrip(".") for w in sorted(wrong))
            raise InputError(
                f"{kind} field {fields}",
                where=where,
                fix="it was written by another version of i2z_jax, or edited",
            )
    return cls(
        **{
            key: _checked(hints[key], item, where, f"{name}.{key}".lstrip("."))
            for key, item in value.items()
        }
    )


def _checked(hint: Any, value: Any, where: str | Path, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where=where, name=name)  # pyrefly: ignore
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (a for a in arguments if a is not type(None))
        return _checked(hint, value, where, name)
    if origin is tuple and isinstance(value, list):
        each = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        if len(each) == len(value):
            pairs = zip(each, value, strict=True)
            return tuple(
                _checked(h, v, where, f"{name}[{i}]") for i, (h, v) in enumerate(pairs)
            )
    elif origin is typing.Literal:
        if any(value == a and type(value) is type(a) for a in arguments):
            return value
        hint = " or ".join(map(repr, arguments))
    elif hint is float and type(value) is int:
        return float(value)
    elif hint is Any or type(value) is (origin or hint):
        return value
    wanted = getattr(hint, "__name__", hint) if origin is None else hint
    raise InputError(
        f"{name} is of another kind", where=where, expected=wanted, got=repr(value)
    )
