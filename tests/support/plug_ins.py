"""A plug-in as pip would leave it: a module and the entry point that names it, on the import path."""

from pathlib import Path

import pytest


def install_plug_in(
    monkeypatch: pytest.MonkeyPatch, folder: Path, group: str, name: str, module: str, source: str
) -> None:
    """Make `module`, whose text is `source`, the plug-in `name` of `group`; it must define `plug_in`."""
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:plug_in\n")
    monkeypatch.syspath_prepend(str(folder))
