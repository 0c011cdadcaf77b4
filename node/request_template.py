"""A request file with every term, its meaning and its default, for people to edit. Written from the rules."""

from dataclasses import MISSING, fields

from node.config_template import toml_value
from node.request_file import REQUEST_SECTIONS
from node.toml_rules import Seconds, TextTable, rules_of

_HEAD = """\
# A data request. Lines that begin with # show a term's default. `hanse request publish --check` reads this file.
# What can be named: `hanse help models`, `hanse help strategies`, `hanse help privacy`.

title = "Bearing faults"
data_type = "bearing-simulator"
"""
_GIVEN: dict[tuple[str, str], object] = {
    ("model", "name"): "mlp",
    ("payment", "price"): 1,
    ("payment", "budget"): 100_000,
}


def request_template() -> str:
    """TOML text of a publishable request."""
    parts = [_HEAD]
    for name, kind in REQUEST_SECTIONS.items():
        parts.append(f"\n# {' '.join((kind.__doc__ or '').split())}\n[{name}]\n")
        for field in fields(kind):
            rule = rules_of(kind)[field.name]
            parts.append(f"# {rule.meaning}; {rule.wanted()}\n")
            if (name, field.name) in _GIVEN:
                parts.append(f"{field.name} = {toml_value(_GIVEN[name, field.name])}\n")
                continue
            assert field.default is not MISSING, f"[{name}] {field.name} needs a value in the template"
            default: object = {} if isinstance(rule, TextTable) else field.default
            if isinstance(rule, Seconds) and isinstance(default, int):
                default = default // 1000
            number = isinstance(default, str) and type(rule).__name__ == "Number"
            parts.append(f"# {field.name} = {default if number else toml_value(default)}\n")
    return "".join(parts)
