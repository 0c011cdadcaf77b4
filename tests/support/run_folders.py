"""Folders of runs as `hanse simulate --out` leaves them, with figures made up: nothing is trained."""

import json
from pathlib import Path

from node.federations.layers import settled, tables_layer
from node.federations.result_files import FORMAT, RESULT_FILE, line_of
from node.federations.rows import Row


def made_up_round(number: int, beta: float = 0.3, epsilon: float | None = None) -> Row:
    """A row of `rounds` in which figures rise or fall with the round."""
    return {
        "round": number,
        "accuracy_global": 1 - 0.5**number,
        "accuracy_own": 1 - 0.4**number,
        "accuracy_own_of_global": 1 - 0.6**number,
        "loss_global_nats": 2 / number,
        "loss_training_nats": 1 / number,
        "clients": 2,
        "rejected": 0,
        "steps": 10,
        "beta_mean": beta / number,
        "beta_max": beta,
        "drift_l2_mean": 3 / number,
        "drift_l2_max": 4 / number,
        "bytes_up": 1000,
        "bytes_down": 2000,
        "train_virtual_s": 0.0,
        "epsilon": None if epsilon is None else epsilon * number,
        "digest": f"{number:064x}",
    }


def written_run(
    folder: Path,
    seed: int = 1,
    strategy: str = "dlmu",
    rule: str = "mean",
    attack: str = "",
    beta: float = 0.3,
    epsilon: float | None = None,
) -> None:
    """A folder with what pictures are made of: settings, rounds and the distribution of classes."""
    tables = {
        "data": {"source": "bearing-simulator", "clients": 2},
        "strategy": {"name": strategy},
        "aggregation": {"rule": rule},
        "attack": {"name": attack, "attackers": 1 if attack else 0},
        "run": {"seed": seed},
    }
    settings = settled(tables_layer(tables, folder, ""))
    folder.mkdir(parents=True)
    (folder / RESULT_FILE).write_text(json.dumps({"format": FORMAT, "settings": settings.as_json(), "result": None}))
    rounds = [made_up_round(number, beta, epsilon) for number in range(1, 5)]
    (folder / "rounds.jsonl").write_text("".join(map(line_of, rounds)))
    classes = [{"client": at, "class": name, "records": 5 + at} for at in range(2) for name in ("good", "bad")]
    (folder / "distribution.jsonl").write_text("".join(map(line_of, classes)))
