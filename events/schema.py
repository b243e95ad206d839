"""Describe every message as JSON Schema, and tell what would break those who rely on an older one."""

from collections.abc import Iterator
from typing import Any

from events.codec import TYPES
from events.upcasters import LATEST

Schema = dict[str, Any]


def schemas() -> dict[str, Schema]:
    """Give the schema of each type at its newest version, by file name `<type>.v<version>.json`."""
    return {
        f"{name}.v{LATEST[name]}.json": cls.model_json_schema(mode="serialization")
        for name, cls in sorted(TYPES.items())
    }


def breaking_changes(old: Schema, new: Schema) -> tuple[str, ...]:
    """List what a reader of *old* would lose in *new*: fields gone, types changed, choices removed."""
    return tuple(_losses(_expand(old, old), _expand(new, new), "$"))


def _losses(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for key in ("type", "const", "format", "pattern"):
        if key in old and old[key] != new.get(key):
            yield f"{path}: {key} {old[key]!r} became {new.get(key)!r}"
    for choice in old.get("enum", []):
        if choice not in new.get("enum", []):
            yield f"{path}: choice {choice!r} is gone"
    for name in old.get("required", []):
        if name not in new.get("required", []):
            yield f"{path}.{name}: is no longer always there"
    for name, sub in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from _losses(sub, new["properties"][name], f"{path}.{name}")
        else:
            yield f"{path}.{name}: is gone"
    if "items" in old:
        yield from _losses(old["items"], new.get("items", {}), f"{path}[]")
    alternatives = new.get("anyOf", [])
    for index, sub in enumerate(old.get("anyOf", [])):
        if index < len(alternatives):
            yield from _losses(sub, alternatives[index], f"{path}|{index}")
        else:
            yield f"{path}: alternative {index} is gone"


def _expand(node: Any, root: Schema) -> Any:
    """Replace each `$ref` by what it names. Our types do not contain themselves, so this ends."""
    if isinstance(node, list):
        return [_expand(item, root) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _expand(root["$defs"][node["$ref"].removeprefix("#/$defs/")], root)
    return {key: _expand(value, root) for key, value in node.items() if key != "$defs"}
