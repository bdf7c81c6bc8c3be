"""What a slash command asks for: a request, or a refusal with one sentence.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.contracts.errors import ErrorCode
from services.contracts.events import GenerationRequested, InputImage, JobSpec, ReplyTo
from services.ingest_bot.command_line import CommandLine, Flag, canonical, parse, value_of
from services.ingest_bot.refusals import CommandError, Refusal
from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.manifest import MODEL, SEED, WORKFLOW
from services.ingest_bot.templates.workflow import Bound, Workflow

#: Discord's token lives 15 minutes; a request that ends after 14 can still be answered by an edit.
LIFETIME = timedelta(minutes=14)
TOKEN_LIFE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A slash command as Discord gave it; ``options`` are the typed options by name, as text."""

    name: str
    prompt: str
    options: Mapping[str, str]
    images: Mapping[str, tuple[int, int]]  #: width and height in pixels of each attached image, by parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A command that will become a request once its images are in the object store."""

    command: Command
    line: CommandLine
    workflow: Workflow
    bound: Bound

    @property
    def command_string(self) -> str:
        """The canonical form: the prompt, then the flags that differ from their defaults."""
        bound = self.bound.flags
        # What chose the workflow is said even where it is that workflow's default: it is not another's.
        choosing = [
            f
            for f in self.line.flags
            if f.name in (WORKFLOW, MODEL) and f.name not in {b.name for b in bound}
        ]
        return canonical(self.line.prompt, [*choosing, *bound])

    @property
    def notes(self) -> list[str]:
        """Sentences about what was read otherwise than typed."""
        return [*self.line.notes, *self.bound.notes]


def draft(command: Command, catalogue: Catalogue, *, random_seed: int) -> Draft | Refusal:
    """Parse and check a command; ``random_seed`` holds where the command names none."""
    try:
        typed = [value_of(name, text) for name, text in command.options.items()]
        line = parse(command.prompt, catalogue.known, typed)
        if not line.prompt:
            return Refusal(
                code=ErrorCode.INVALID_COMMAND, message="The prompt is empty: say what the images show."
            )
        flags = {flag.name: flag for flag in line.flags}
        workflow = catalogue.choose(flags, command.images)
        own: dict[str, Flag] = {name: flag for name, flag in flags.items() if name != WORKFLOW}
        bound = workflow.bind(line.prompt, own, command.images, random_seed)
    except CommandError as error:
        return error.refusal()
    return Draft(command=command, line=line, workflow=workflow, bound=bound)


def request(
    ready: Draft,
    *,
    request_id: str,
    reply_to: ReplyTo,
    now: datetime,
    inputs: list[InputImage],
    plan: str = "free",
) -> GenerationRequested:
    """The request of a draft."""
    workflow, bound = ready.workflow, ready.bound
    return GenerationRequested(
        request_id=request_id,
        requested_at=now,
        expires_at=now + LIFETIME,
        reply_to=reply_to,
        command=ready.command.name,
        raw_input=ready.command.prompt,
        command_string=ready.command_string,
        prompt=ready.line.prompt,
        negative_prompt=bound.text("neg"),
        job=JobSpec(
            workflow=workflow.name,
            workflow_version=workflow.version,
            graph=workflow.render(bound),
            bindings=dict(workflow.bindings),
            seed=int(bound.text(SEED)),
            images=workflow.count(bound),
            parameters={name: value.text for name, value in bound.values.items()},
            checkpoints=workflow.files(bound, "checkpoint"),
            loras=workflow.files(bound, "lora"),
            inputs=inputs,
        ),
        plan=plan,
        notes=ready.notes,
    )
