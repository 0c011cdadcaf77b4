"""Logs: quiet by default, for people or one JSON object a line, on stderr. Configured once, before anything is imported
that would configure them itself."""

import logging
import sys

import structlog

# Libraries that speak too much, and one that lets peers fill the log (a warning per frame of a flood).
_HUSHED = {
    "libp2p": logging.CRITICAL,
    "hypercorn": logging.WARNING,
    "httpx": logging.WARNING,
    "zeroconf": logging.CRITICAL,
}


def configure_logs(level: str, style: str) -> None:
    """`level`: debug, info, warning or error. `style`: text or json."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if style == "json":
        rendering: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        # Not the renderer's own tracebacks: those show every local variable, keys among them, and take seconds to draw.
        plain = structlog.dev.plain_traceback
        rendering = [_printable, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, hushed in _HUSHED.items():
        logging.getLogger(name).setLevel(hushed)


def _printable(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What peers said stands in many lines: it must not move a terminal's cursor, nor look like a line of ours."""
    return {name: _plain(value) if isinstance(value, str) else value for name, value in event.items()}


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
