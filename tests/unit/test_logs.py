"""Logs as an operator reads them."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from node.logs import configure_logs


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_fault_is_told_without_what_the_node_keeps_in_its_variables(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("warning", style)

    def fail() -> None:
        passphrase = "".join(["open", " sesame"])
        raise ValueError(f"{len(passphrase)} letters, want 20")

    try:
        fail()
    except ValueError as error:
        logging.getLogger("node.test").error("a handler failed", exc_info=error)
    told = capsys.readouterr().err
    assert "a handler failed" in told
    assert "11 letters, want 20" in told
    assert "open sesame" not in told
    assert len(told.splitlines()) < 20
    if style == "json":
        assert json.loads(told)["level"] == "error"


@pytest.mark.parametrize("style", ["text", "json"])
def test_what_a_peer_said_neither_moves_the_cursor_nor_makes_a_line(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("info", style)
    said = "no\x1b[2J\r\n2026-01-01 [info] the node is fine\x07\u202e"
    logging.getLogger("node.test").warning("refused from %s: %s", "mallory", said)
    structlog.get_logger("node.test").warning("blob_unavailable", reason=said)
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 2
    assert not set("\x1b\r\x07\u202e") & set(told)
    assert told.count("the node is fine") == 2
