"""Structure of pack.toml, kernels.json and keyset.json, checked against the JSON Schemas beside this file.

Stricter than JSON Schema in two ways: 1.0 is no integer, and a pattern matches the whole string (Python's ``$`` would
let a final newline through).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from referencing import Registry, Resource

KERNELS = "kernels.schema.json"
SOURCE = "source.schema.json"
KEYSET = "keyset.schema.json"
_LONGEST = 300  # characters of a message: it quotes the value, which may be anything


def problem(data: Any, schema: str) -> str | None:
    """What is wrong with ``data``, the field first (``kernels[0].hash: …``); None when it fits ``schema``."""
    error = best_match(_validator(schema).iter_errors(data))
    if error is None:
        return None
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    field = "".join(steps).removeprefix(".")
    message = error.message if len(error.message) <= _LONGEST else error.message[:_LONGEST] + "…"
    return f"{field}: {message}" if field else message


@cache
def load(schema: str) -> Mapping[str, Any]:
    """One of the schemas as parsed JSON."""
    return dict(json.loads(Path(__file__).with_name(schema).read_text()))


@cache
def _validator(schema: str) -> Validator:
    registry: Registry[Any] = Registry().with_resources(
        (load(name)["$id"], Resource.from_contents(load(name))) for name in (KERNELS, SOURCE, KEYSET)
    )
    draft = jsonschema.Draft202012Validator
    strict: type[Validator] = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        draft,
        validators={"pattern": _whole_pattern},
        type_checker=draft.TYPE_CHECKER.redefine("integer", lambda _checker, value: type(value) is int),
    )
    return strict(load(schema), registry=registry)


def _whole_pattern(_validator: Validator, pattern: str, value: object, _schema: object) -> Iterator[ValidationError]:
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern}")
