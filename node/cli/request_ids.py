"""A request's id on the command line: in full, or its beginning, as tables show it."""

import string

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.which_node import node_client

DIGITS = 64
# Four digits are met twice among some hundred requests; a beginning that fits two is refused anyway.
DIGITS_MIN = 4
# As many as a node lists in one answer.
PAGE = 100


def whole_id(config_path: str, given: str) -> str:
    """The id that begins so, by the list of the node at --config. What is no beginning is left for the node to refuse.

    Raises CliError when no request, or more than one, begins so.
    """
    if not DIGITS_MIN <= len(given) < DIGITS or not set(given) <= set(string.hexdigits):
        return given
    found: list[str] = []
    with node_client(config_path) as client:
        offset, count = 0, 1
        while offset < count:
            answer = client.call("request.list", limit=PAGE, offset=offset)
            found += [each["id"] for each in answer["requests"] if each["id"].startswith(given.lower())]
            offset, count = offset + PAGE, answer["count"]
    if not found:
        raise CliError(Exit.NOT_FOUND, f"no request begins with {given}")
    if len(found) > 1:
        raise CliError(Exit.USAGE, f"{len(found)} requests begin with {given}: give more of the id")
    return found[0]
