"""Ports for leagues on one machine: no two leagues are given the same, though nobody listens there for a moment."""

import subprocess
import sys
from pathlib import Path

import pytest

from node.devnet import league
from node.devnet.league import LeagueFailed, free_ports

ROOT = Path(__file__).parents[2]
ELSEWHERE = """
import sys
from node.devnet import league
league.PORTS = [int(port) for port in sys.argv[1:]]
try:
    print(*sorted(league.free_ports(len(league.PORTS))))
except league.LeagueFailed as failure:
    print(str(failure).partition(",")[0])
"""


def taken_elsewhere(ports: list[int]) -> str:
    """What a league in another process is given when it may have these ports only."""
    words = [sys.executable, "-c", ELSEWHERE, *map(str, ports)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_a_port_is_given_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(league, "PORTS", free_ports(3))
    with pytest.raises(LeagueFailed, match="0 free ports"):
        free_ports(1)


def test_another_process_is_given_other_ports_until_this_one_ends() -> None:
    ports = free_ports(3)
    assert taken_elsewhere(ports).startswith("0 free ports")
    for port in ports:
        league._given.pop(port).close()
    assert taken_elsewhere(ports) == " ".join(map(str, sorted(ports)))
