"""The node's end of its training process: started when there is a job, kept warm, ended when idle, cancelled or broken.

One job at a time; callers wait in line. Retries are the caller's: a process that dies in the middle of a job raises
WorkerCrashed, and the next job gets a new one.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import structlog
import trio

from ledger.errors import InvalidBytes
from node.worker_protocol import (
    LENGTH_BYTES,
    Answer,
    Evaluated,
    Job,
    JobFailed,
    ModelMade,
    ModelServed,
    Progress,
    RoundTrained,
    frame_length,
    job_frame,
    parse_answer,
)

log = structlog.get_logger(__name__)

# What a dying process had to say: a Python traceback and torch's own complaint fit well.
STDERR_KEPT_BYTES = 8192
READ_BYTES = 256 * 1024
# A millisecond's work. A model of 45 MB takes half a second, in which the node must go on voting.
PARSED_HERE_BYTES_MAX = 1024 * 1024
# The end of stdin ends the process at once; longer only when the machine is stuck.
END_S = 2.0
IDLE_EXIT_S = 120.0

Final = ModelMade | RoundTrained | Evaluated | ModelServed
OnProgress = Callable[[Progress], None]


class WorkerCrashed(Exception):
    """The training process died or spoke nonsense in the middle of a job. The text holds its last words."""


class JobRefused(Exception):
    """The training process says that the job cannot be done; asking again gives the same. `code` as in JobFailed."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`nice`: added to the niceness of the node. `idle_exit_s`: memory is given back after so long without a job."""

    threads: int = 1
    nice: int = 10
    idle_exit_s: float = IDLE_EXIT_S


class TrainingProcess:
    """Made by `open_training_process`."""

    def __init__(self, settings: WorkerSettings, nursery: trio.Nursery) -> None:
        self._settings = settings
        self._nursery = nursery
        self._turn = trio.Lock()
        self._child: trio.Process | None = None
        self._last_words = bytearray()
        self._used = trio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process that is running now, None when there is none."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    async def do(self, job: Job, on_progress: OnProgress | None = None) -> Final:
        """Carry out one job. Cancelling kills the process: half a training is worth nothing, a new start costs 1.5 s.

        Raises JobRefused when the job cannot be done, WorkerCrashed when the process died of it.
        """
        async with self._turn:
            try:
                child = await self._running_child()
                answer = await self._exchange(child, job, on_progress)
            except BaseException:
                self._kill()
                raise
            finally:
                self._used.set()
        if isinstance(answer, JobFailed):
            raise JobRefused(answer.code, answer.reason)
        return answer

    async def _exchange(self, child: trio.Process, job: Job, on_progress: OnProgress | None) -> Final | JobFailed:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            await child.stdin.send_all(await trio.to_thread.run_sync(job_frame, job))
        except trio.BrokenResourceError:
            raise await self._crash(child) from None
        buffer = bytearray()
        while True:
            answer = await self._receive(child, child.stdout, buffer)
            match answer:
                case Progress():
                    if on_progress is not None:
                        on_progress(answer)
                case ModelMade() | RoundTrained() | Evaluated() | ModelServed() | JobFailed():
                    return answer
                case _:
                    assert_never(answer)

    async def _receive(self, child: trio.Process, stream: trio.abc.ReceiveStream, buffer: bytearray) -> Answer:
        try:
            await self._fill(child, stream, buffer, LENGTH_BYTES)
            end = LENGTH_BYTES + frame_length(bytes(buffer[:LENGTH_BYTES]))
            await self._fill(child, stream, buffer, end)
            body = bytes(memoryview(buffer)[LENGTH_BYTES:end])
            if len(body) > PARSED_HERE_BYTES_MAX:
                answer = await trio.to_thread.run_sync(parse_answer, body)
            else:
                answer = parse_answer(body)
        except InvalidBytes as error:
            raise WorkerCrashed(f"the training process sent what is no answer: {error}") from None
        del buffer[:end]
        return answer

    async def _fill(self, child: trio.Process, stream: trio.abc.ReceiveStream, buffer: bytearray, size: int) -> None:
        while len(buffer) < size:
            try:
                data = await stream.receive_some(READ_BYTES)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                raise await self._crash(child)
            buffer += data

    async def _crash(self, child: trio.Process) -> WorkerCrashed:
        with trio.move_on_after(END_S):
            await child.wait()
        words = self._last_words.decode(errors="replace").strip()
        return WorkerCrashed(f"the training process ended with {child.returncode}; it said: {words or 'nothing'}")

    async def _running_child(self) -> trio.Process:
        if self._child is None or self._child.returncode is not None:
            self._last_words.clear()
            # Popen and the fork take milliseconds; trio hands them to a thread.
            self._child = await trio.lowlevel.open_process(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "node.worker",
                    f"--threads={self._settings.threads}",
                    f"--nice={self._settings.nice}",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(self._settings.threads),
                # A Ctrl-C in the terminal is the node's to answer.
                start_new_session=True,
            )
            self._nursery.start_soon(self._listen, self._child)
        return self._child

    async def _listen(self, child: trio.Process) -> None:
        """Keep the end of what the process says on stderr, and reap it."""
        assert child.stderr is not None
        try:
            async with child.stderr:
                async for data in child.stderr:
                    self._last_words += data
                    del self._last_words[:-STDERR_KEPT_BYTES]
        except trio.BrokenResourceError:
            pass
        await child.wait()

    async def let_go(self) -> None:
        """End the process as soon as it has nothing to do; the next job gets a new one."""
        async with self._turn:
            await self._end()

    async def end_when_idle(self) -> None:
        """Let the process go after `idle_exit_s` without a job. Until cancelled."""
        while True:
            await self._used.wait()
            self._used = trio.Event()
            with trio.move_on_after(self._settings.idle_exit_s) as idle:
                await self._used.wait()
            if not idle.cancelled_caught:
                continue
            async with self._turn:
                # A job that came while we waited for our turn has set the event again.
                if not self._used.is_set():
                    await self._end()

    async def _end(self) -> None:
        """The kind way: stdin ends, the process with it."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        await child.stdin.aclose()
        with trio.move_on_after(END_S):
            await child.wait()
        if child.returncode is None:
            child.kill()

    async def close(self) -> None:
        """Kill the process, whatever it does, and wait until it is gone."""
        child = self._child
        self._kill()
        if child is not None:
            with trio.CancelScope(deadline=trio.current_time() + END_S, shield=True):
                await child.wait()

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            child.kill()


@asynccontextmanager
async def open_training_process(settings: WorkerSettings) -> AsyncIterator[TrainingProcess]:
    """A training process for the time of the block; nothing is started before the first job."""
    async with trio.open_nursery() as nursery:
        process = TrainingProcess(settings, nursery)
        nursery.start_soon(process.end_when_idle)
        try:
            yield process
        finally:
            await process.close()
            nursery.cancel_scope.cancel()


def _environment(threads: int) -> dict[str, str]:
    """Ours, with this very code on the module path and the arithmetic libraries held to their threads."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(max(1, threads)))
    return {**os.environ, **limits, "PYTHONPATH": root if not path else f"{root}{os.pathsep}{path}"}
