"""A loopback ComfyUI for the demo and the tests: the real protocol, pictures drawn by rule instead of by a model.

It speaks HTTP and websocket as ComfyUI 0.3.64 does: validation errors, queue, history, cache, interrupts, frame order,
who hears which event.  Pictures are drawn procedurally from the prompt's words and the seed, and say so.
``/sandbox/faults`` arms faults, ``/sandbox/runs`` tells what ran: both are the sandbox's own.

Run it with ``python -m services.sandbox.comfyui --help``, or in process as `ComfyUISandbox`.
"""

from services.sandbox.comfyui.faults import Fault, FaultKind
from services.sandbox.comfyui.server import ComfyUISandbox
from services.sandbox.comfyui.settings import SandboxSettings
from services.sandbox.comfyui.thread import serve_in_thread

__all__ = ["ComfyUISandbox", "Fault", "FaultKind", "SandboxSettings", "serve_in_thread"]
