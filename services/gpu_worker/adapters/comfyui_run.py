"""One job on ComfyUI, from its inputs' upload to its images: the conversation, step by step.

The order of things matters in three places.  The socket is open before the prompt is posted, or its first events
are lost.  After every gap in the socket the queue and the history are read, since ComfyUI repeats nothing.  And a
prompt is posted a second time only after ComfyUI has said that it does not know it, since it would run it twice.
"""

from __future__ import annotations

import mimetypes
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.contracts.events import Phase
from services.gpu_worker.adapters import comfyui_failures
from services.gpu_worker.adapters.comfyui_events import OutputFile, PromptView, choose_files
from services.gpu_worker.adapters.comfyui_http import ComfyUIAway, ComfyUIHttp, Place, Why
from services.gpu_worker.adapters.comfyui_socket import ComfyUISocket, SocketLost
from services.gpu_worker.graph import Graph, GraphError, bind_graph, model_files
from services.gpu_worker.ports import (
    FOLDER,
    ComfyUIDied,
    ComfyUIUnreachable,
    DeadlineExceeded,
    GraphRefused,
    Interrupted,
    NoImages,
    OnProgress,
    RenderedImage,
    RenderError,
    Rendering,
    RenderJob,
)

_HISTORY_PAUSE_SECONDS = 0.05
#: Between two looks whether an interrupted job has stopped, where no event will say so.
_STOP_PAUSE_SECONDS = 0.2
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long this client waits for what, in seconds."""

    connect: float = 2.0  #: for a TCP connection and the websocket's handshake
    answer: float = 30.0  #: for an HTTP answer; ComfyUI answers late while it loads a model
    quiet: float = 5.0  #: without an event: then queue and history are looked at, in case one was lost
    grace: float = 10.0  #: for a running job to stop after it was interrupted
    reconnect: float = 5.0  #: for a lost websocket to come back
    history: float = 5.0  #: for the history to follow the success event


@dataclass(slots=True, kw_only=True)
class Counts:
    """What happened beside the plan; for the log and the curious."""

    reconnects: int = 0
    quiet_looks: int = 0
    ignored_frames: int = 0


class JobRun:
    """Runs one job once; used by one thread, but for `ask_to_stop`."""

    def __init__(
        self,
        job: RenderJob,
        http: ComfyUIHttp,
        urgent: ComfyUIHttp,
        socket: ComfyUISocket,
        *,
        client_id: str,
        deadline: float,
        on_progress: OnProgress,
        timing: Timing,
        counts: Counts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = job
        self._http = http
        self._urgent = urgent  # with a short timeout, for when the deadline has passed
        self._socket = socket
        self._client_id = client_id
        self._deadline = deadline
        self._on_progress = on_progress
        self._timing = timing
        self._counts = counts
        self._clock = clock
        self._graph: Graph = {}
        self._view = PromptView(job.prompt_id, {})
        self._told: tuple[Phase, int] | None = None
        self._started_at: float | None = None
        self._gap = False  # events may have been missed
        self._connection_lost = False
        self._stop_asked = False
        self._abandoned = False

    @property
    def models(self) -> tuple[str, ...]:
        """The model files that the job's graph names."""
        return model_files(self._graph)

    def ask_to_stop(self) -> None:
        """Note that the job is to be stopped, from any thread; wake the socket when ComfyUI has been told."""
        self._stop_asked = True

    def abandon(self) -> None:
        """End at once, leaving the job to ComfyUI, from any thread; wake the socket then."""
        self._stop_asked = self._abandoned = True

    def execute(self) -> Rendering:
        """Run the job.

        Raises:
            RenderError: it failed.
        """
        try:
            self._prepare()
            self._begin()
            self._follow()
            return self._collect()
        except ComfyUIAway as error:
            raise ComfyUIDied(str(error), gpu_seconds=self._gpu_seconds()) from error
        except RenderError as error:
            error.gpu_seconds = self._gpu_seconds()
            raise
        finally:
            self._counts.ignored_frames += self._view.ignored

    def _prepare(self) -> None:
        """Everything that needs no GPU: the connection, the inputs, the graph."""
        self._check_time()
        try:
            self._freshen_socket()
            values = {entry.parameter: self._upload(index) for index, entry in enumerate(self.job.inputs)}
        except (SocketLost, ComfyUIAway) as error:
            raise ComfyUIUnreachable(str(error)) from error
        job = self.job
        bound = {"seed": job.seed, "filename_prefix": job.filename_prefix, "batch_size": job.images, **values}
        try:
            self._graph = bind_graph(job.graph, job.bindings, bound)
        except GraphError as error:
            raise GraphRefused(str(error)) from error
        self._view = PromptView(job.prompt_id, self._graph)
        self._check_time()

    def _check_time(self) -> None:
        if self._stop_asked:
            raise Interrupted("stopped before it was posted")
        if self._clock() >= self._deadline:
            raise DeadlineExceeded("the deadline had passed before the job was posted", stuck=False)

    def _freshen_socket(self) -> None:
        """Make sure that the socket lives: one that ComfyUI closed between jobs shows it only when read."""
        try:
            self._socket.drain() if self._socket.is_open else self._socket.open()
        except SocketLost:
            self._socket.open()

    def _upload(self, index: int) -> str:
        entry = self.job.inputs[index]
        suffix = mimetypes.guess_extension(entry.content_type) or ".png"
        return self._http.upload(
            FOLDER, f"{self.job.prompt_id}-{index}{suffix}", entry.content_type, entry.data
        )

    def _begin(self) -> None:
        """Post the prompt, unless ComfyUI has it already."""
        try:
            if not (self.job.maybe_known and self._attach()):
                self._post()
        except ComfyUIAway as error:
            raise ComfyUIUnreachable(str(error)) from error
        if self._stop_asked:  # It was asked before ComfyUI knew the prompt, so nobody there was told.
            self._http.stop(self.job.prompt_id)

    def _attach(self) -> bool:
        """Take up a prompt that an earlier incarnation of this worker posted; false where ComfyUI has none."""
        located = self._http.locate(self.job.prompt_id)
        if located.place is Place.UNKNOWN:
            return False
        self._gap = True
        if located.place is Place.FINISHED:
            self._view.take_history(located.entry)
        return True

    def _post(self) -> None:
        body = {"prompt": self._graph, "client_id": self._client_id, "prompt_id": self.job.prompt_id}
        try:
            answer = self._http.post_prompt(body)
        except ComfyUIAway as error:
            if error.why not in (Why.DROPPED, Why.SILENT):
                raise
            if self._attach():  # The answer was lost, and the prompt queued all the same.
                return
            if (
                error.why is Why.SILENT
            ):  # It may yet read what it was sent, so sending it again could run it twice.
                raise
            answer = self._http.post_prompt(body)
        if answer.status != 200 or answer.body.get("node_errors"):
            if answer.status == 200:  # ComfyUI runs the outputs that are good: half an answer to the request.
                self._http.stop(self.job.prompt_id)
            raise comfyui_failures.of_refusal(answer.body)

    def _follow(self) -> None:
        """Read events until the job has ended."""
        heard = self._clock()
        while not self._view.ended:
            now = self._clock()
            if now >= self._deadline:
                return self._end_late()
            frame = self._receive(min(self._deadline - now, self._timing.quiet))
            if self._abandoned:
                raise Interrupted("the renderer was closed")
            if frame is not None:
                heard = self._clock()
                self._feed(frame)
                if self._view.left and not self._view.ended:
                    self._look()
            elif self._stop_asked:
                self._look()
            elif self._clock() - heard >= self._timing.quiet:
                heard = self._clock()
                self._look_in_silence()
        return None

    def _look_in_silence(self) -> None:
        """No event for a while: a long step, or a socket that ComfyUI no longer writes to."""
        self._counts.quiet_looks += 1
        self._look()
        if self._view.ended:  # Its end should have been heard, so the next job gets a new socket.
            self._socket.disconnect()

    def _receive(self, seconds: float) -> str | bytes | None:
        try:
            return self._socket.receive(seconds)
        except SocketLost:
            self._reconnect()
            self._look()
            return None

    def _feed(self, frame: str | bytes) -> None:
        self._view.feed(frame)
        if self._view.started and self._started_at is None:
            self._started_at = self._clock()
        if self._view.started:
            self._tell((self._view.phase, self._view.percent))

    def _tell(self, progress: tuple[Phase, int]) -> None:
        if progress != self._told:
            self._told = progress
            self._on_progress(*progress)

    def _reconnect(self) -> None:
        """Open the socket again under the same client id, unless ComfyUI is gone: then so is the job.

        Where ComfyUI lives but gives no socket, the caller looks at the queue and tries again, up to the deadline:
        the job needs no events, only its user does.
        """
        self._gap = self._connection_lost = True
        self._counts.reconnects += 1
        end = min(self._deadline, self._clock() + self._timing.reconnect)
        wait = 0.05
        while not self._abandoned:
            try:
                return self._socket.open()
            except SocketLost as error:
                if error.refused:
                    raise ComfyUIDied(f"the websocket was lost and nothing listens: {error}") from error
                if self._clock() >= end:
                    return None
            self._socket.pause(wait)
            wait = min(1.0, wait * 2)
        return None

    def _look(self) -> None:
        """Ask where the job is, since events may have been missed."""
        located = self._http.locate(self.job.prompt_id)
        if located.place is Place.FINISHED:
            self._view.take_history(located.entry)
        elif located.place is Place.UNKNOWN:
            if self._connection_lost:
                raise ComfyUIDied("ComfyUI does not know the job any more: it has restarted")
            raise Interrupted("the job was taken out of ComfyUI's queue")
        elif located.place is Place.RUNNING and self._started_at is None:
            self._started_at = self._clock()

    def _end_late(self) -> None:
        """The deadline has passed: stop the job, and only this one.  A result that is there after all counts."""
        why = f"not done in time, {self._view.percent} % drawn"
        try:
            place = self._urgent.stop(self.job.prompt_id)
            if place is Place.RUNNING:
                self._await_stop()
            elif place is Place.FINISHED:
                self._look()
        except ComfyUIAway as error:
            raise DeadlineExceeded(f"{why}; ComfyUI does not answer: {error}", stuck=True) from error
        if isinstance(self._view.error, Interrupted) or place in (Place.PENDING, Place.UNKNOWN):
            raise DeadlineExceeded(why, stuck=False)
        if not self._view.ended:
            raise DeadlineExceeded(f"{why}, and it ignores the interrupt", stuck=True)

    def _await_stop(self) -> None:
        """Give an interrupted job the grace to stop, which it does at the next sampler step."""
        end = self._clock() + self._timing.grace
        while not self._view.ended and self._clock() < end:
            try:
                frame = self._socket.receive(max(0.0, end - self._clock()))
            except SocketLost:  # as it may have been all along
                self._socket.pause(_STOP_PAUSE_SECONDS)
                self._take_if_finished()
                continue
            if frame is not None:
                self._view.feed(frame)
        if not self._view.ended:
            self._take_if_finished()

    def _take_if_finished(self) -> None:
        located = self._urgent.locate(self.job.prompt_id)
        if located.place is Place.FINISHED:
            self._view.take_history(located.entry)

    def _collect(self) -> Rendering:
        if self._view.error is not None:
            raise self._view.error
        files = choose_files(self._view.files)
        if self._gap or not files:
            files = choose_files(self._files_of_history())
        images = tuple(self._fetch(file) for file in files)
        if not images:
            raise NoImages("ComfyUI ended the job well, but no node of it saved an image")
        self._tell((Phase.RUNNING, 100))
        return Rendering(images=images, gpu_seconds=self._gpu_seconds())

    def _files_of_history(self) -> list[OutputFile]:
        """The files as the history lists them; it can follow the success event by a third of a second."""
        end = self._clock() + self._timing.history
        while True:
            located = self._http.locate(self.job.prompt_id)
            if located.place is Place.FINISHED:
                self._view.take_history(located.entry)
                return self._view.files
            if located.place is Place.UNKNOWN or self._clock() >= end:
                return self._view.files
            self._receive(_HISTORY_PAUSE_SECONDS)

    def _fetch(self, file: OutputFile) -> RenderedImage:
        data = self._http.view(file)
        if data is None:
            raise NoImages("ComfyUI no longer has an image that it wrote")
        if not data.startswith(_PNG) or len(data) < 24:
            raise NoImages("ComfyUI wrote a file that is no PNG; the workflow needs a SaveImage node")
        width, height = struct.unpack(">II", data[16:24])
        return RenderedImage(data=data, width=width, height=height)

    def _gpu_seconds(self) -> float:
        return 0.0 if self._started_at is None else max(0.0, self._clock() - self._started_at)
