"""The model package of docs/models.md as pip would leave it: its files, its entry point, and RECORD's digests."""

import base64
import re
from hashlib import sha256
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def page_files() -> dict[str, str]:
    """Every file that the page shows: blocks that follow a line such as **gear_models/net.py**."""
    return dict(re.findall(r"^\*\*([\w./-]+)\*\*\n+```\w*\n(.*?)```", PAGE.read_text(), re.S | re.M))


def install_package(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    files: dict[str, str],
    entry_points: dict[str, str],
    version: str = "1.0",
    recorded: bool = True,
) -> None:
    """Put the .py and .json files of a package called gear-models on the import path, with its entry points."""
    record = []
    for name, text in files.items():
        if not name.endswith((".py", ".json")):
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        digest = base64.urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(text)}")
    metadata = folder / f"gear_models-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: gear-models\nVersion: {version}\n")
    lines = "\n".join(f"{name} = {place}" for name, place in entry_points.items())
    (metadata / "entry_points.txt").write_text(f"[hanse.models]\n{lines}\n")
    own = f"{metadata.name}/METADATA,sha256=unequal-on-every-machine,1"
    if recorded:
        (metadata / "RECORD").write_text("\n".join([*record, own, f"{metadata.name}/RECORD,,"]) + "\n")
    monkeypatch.syspath_prepend(str(folder))
