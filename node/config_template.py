"""A configuration file with every setting, its meaning and its default, for people to edit. Written from the rules."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from node.config import SECTIONS
from node.toml_rules import Number, TextTable, WholeTable, rules_of

# Defaults that depend on the data folder, as they are when it is the file's own folder.
_PATH_DEFAULTS = {
    ("node", "data_dir"): ".",
    ("key", "file"): "key.pem",
    ("key", "identity"): "identity.pub",
    ("genesis", "file"): "genesis.json",
    ("rpc", "socket"): "rpc.sock",
    ("rpc", "cookie_file"): ".cookie",
}

_HEAD = """\
# Configuration of a Hanse node. Lines that begin with # show a setting's default.
# Relative paths count from the folder of this file. A setting that does not exist stops the node and is named.
# Each setting can be overridden by a variable HANSE_<SECTION>_<KEY>, such as HANSE_RPC_LISTEN.
# `hanse config check` reads this file without starting anything.
"""


def config_template(given: Mapping[str, Mapping[str, object]]) -> str:
    """TOML text with the settings in `given` (section → key → value) set and all others commented out."""
    parts = [_HEAD]
    for name, kind in SECTIONS.items():
        purpose = " ".join((kind.__doc__ or "").split())
        parts.append(f"\n# {purpose}\n[{name}]\n")
        chosen = given.get(name, {})
        assert chosen.keys() <= rules_of(kind).keys(), f"[{name}] has no {chosen.keys() - rules_of(kind).keys()}"
        for field in fields(kind):
            rule = rules_of(kind)[field.name]
            parts.append(f"# {rule.meaning}; {rule.wanted()}\n")
            if field.name in chosen:
                parts.append(f"{field.name} = {toml_value(chosen[field.name])}\n")
            else:
                default: Any = _PATH_DEFAULTS.get((name, field.name), field.default)
                tables = isinstance(rule, (TextTable, WholeTable))
                shown = {} if tables else "" if default is MISSING else default
                # A number with a point is kept as the text it was written in.
                text = str(shown) if isinstance(rule, Number) else toml_value(shown)
                parts.append(f"# {field.name} = {text}\n")
                if isinstance(rule, WholeTable):
                    # Set apart from the settings, whose lines are whole without their first two characters.
                    parts.extend(f"#   {line}\n" for line in rule.example)
    return "".join(parts)


def toml_value(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return repr(value)
    if value is None:
        return '""'
    if isinstance(value, (str, Path)):
        # JSON's escapes are TOML's (basic strings, TOML 1.0).
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(each) for each in value) + "]"
    raise TypeError(f"{type(value).__name__} is not written to a configuration")
