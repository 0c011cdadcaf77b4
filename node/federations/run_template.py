"""A run file with every setting, its meaning and its value, for people to keep and edit. Written from the rules."""

from collections.abc import Collection
from pathlib import Path

from node.config_template import toml_value
from node.federations.settings import SECTIONS, RunSettings
from node.toml_rules import Number, TextTable, rules_of

_HEAD = """\
# A simulated run: `hanse simulate THIS.toml`. Options of the command line go before what stands here.
# What can be named: `hanse help sources`, `models`, `strategies`, `rules`, `attacks`, `privacy`.
"""


def run_template(settings: RunSettings, without: Collection[str] = ()) -> str:
    """TOML text that says these settings and explains them; sections in `without` are left out."""
    parts = [_HEAD]
    for name, kind in SECTIONS.items():
        if name in without:
            continue
        parts.append(f"\n# {' '.join((kind.__doc__ or '').split())}\n[{name}]\n")
        section = getattr(settings, name)
        for key, rule in rules_of(kind).items():
            value = getattr(section, key)
            if isinstance(rule, TextTable):
                value = dict(value)
            if isinstance(value, Path):
                value = value.absolute()
            # A number with a point is kept as the text it was written in.
            text = value if isinstance(rule, Number) else toml_value(value)
            parts.append(f"# {rule.meaning}; {rule.wanted()}\n{key} = {text}\n")
    return "".join(parts)
