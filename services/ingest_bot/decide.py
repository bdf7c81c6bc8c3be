"""What a slash command asks for: a request, or a refusal with one sentence.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.contracts.errors import ErrorCode
from services.contracts.events import GenerationRequested, InputImage, JobSpec, ReplyTo
from services.ingest_bot.command_line import CommandLine, canonical, parse, value_of
from services.ingest_bot.refusals import CommandError, Refusal
from services.ingest_bot.templates.manifest import Workflow
from services.ingest_bot.templates.render import Rendered, render

#: Discord's token lives 15 minutes; a request that ends after 14 can still be answered by an edit.
LIFETIME = timedelta(minutes=14)
TOKEN_LIFE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A slash command as Discord gave it; ``options`` are the typed options by name, as text."""

    name: str
    prompt: str
    options: Mapping[str, str]
    image: bool  #: whether an image is attached


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A command that will become a request once its image, if any, is in the object store."""

    command: Command
    line: CommandLine
    workflow: Workflow
    rendered: Rendered

    @property
    def command_string(self) -> str:
        """The canonical form: the prompt, then the flags that differ from their defaults."""
        return canonical(self.line.prompt, self.rendered.given)

    @property
    def notes(self) -> list[str]:
        """Sentences about what was read otherwise than typed."""
        return [*self.line.notes, *self.rendered.notes]


def draft(command: Command, workflows: Mapping[str, Workflow], *, random_seed: int) -> Draft | Refusal:
    """Parse and check a command.

    Args:
        workflows: by name, the preferred first.
        random_seed: the seed where the command names none.
    """
    known = {name for workflow in workflows.values() for name in workflow.flags()} - {"image"}
    try:
        typed = [value_of(name, text) for name, text in command.options.items()]
        line = parse(command.prompt, known, typed)
        if not line.prompt:
            return Refusal(
                code=ErrorCode.INVALID_COMMAND, message="The prompt is empty: say what the images show."
            )
        flags = {flag.name: flag.value for flag in line.flags}
        workflow = choose(workflows, flags, image=command.image)
        rendered = render(workflow, line.prompt, flags, random_seed=random_seed)
    except CommandError as error:
        return error.refusal()
    return Draft(command=command, line=line, workflow=workflow, rendered=rendered)


def choose(workflows: Mapping[str, Workflow], flags: Mapping[str, str | None], *, image: bool) -> Workflow:
    """The first workflow that fits the model, the flags and whether there is an image.

    Raises:
        CommandError: none does; the sentence says which part does not fit.
    """
    fitting = [w for w in workflows.values() if w.takes_image == image]
    if not fitting:
        raise CommandError(
            "No workflow here starts from an image." if image else "Attach an image to start from."
        )
    model = (flags.get("model") or "").lower()
    of_model = [w for w in fitting if not model or model in w.models()]
    if not of_model:
        words = sorted({word for w in fitting for word in w.models()})
        raise CommandError(f"`--model` takes {', '.join(words)}{' with an image' if image else ''}.")
    able = [w for w in of_model if set(flags) <= w.flags()]
    if not able:
        extra = sorted(set(flags) - of_model[0].flags())
        needs = (
            " It needs an image."
            if any(extra[0] in w.flags() and w.takes_image for w in workflows.values())
            else ""
        )
        raise CommandError(f"`--{extra[0]}` does not work with {of_model[0].manifest.title}.{needs}")
    return able[0]


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
    rendered = ready.rendered
    return GenerationRequested(
        request_id=request_id,
        requested_at=now,
        expires_at=now + LIFETIME,
        reply_to=reply_to,
        command=ready.command.name,
        raw_input=ready.command.prompt,
        command_string=ready.command_string,
        prompt=ready.line.prompt,
        negative_prompt=rendered.negative_prompt,
        job=JobSpec(
            workflow=ready.workflow.name,
            workflow_version=ready.workflow.version,
            graph=rendered.graph,
            bindings=rendered.bindings,
            seed=rendered.seed,
            images=rendered.images,
            parameters=rendered.parameters,
            checkpoints=rendered.checkpoints,
            loras=list(ready.workflow.manifest.loras),
            inputs=inputs,
        ),
        plan=plan,
        notes=ready.notes,
    )
