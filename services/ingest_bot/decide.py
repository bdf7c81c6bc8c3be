"""What a slash command asks for: a request, or a refusal with one sentence.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.contracts.errors import ErrorCode
from services.contracts.events import (
    CancellationRequested,
    GenerationRequested,
    InputImage,
    JobSpec,
    ReplyTo,
)
from services.ingest_bot.command_line import CommandLine, Flag, canonical, parse, value_of
from services.ingest_bot.policy import Policy
from services.ingest_bot.refusals import CommandError, Refusal
from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.manifest import IMAGES, MODEL, NEGATIVE, SEED, WORKFLOW
from services.ingest_bot.templates.workflow import Bound, Workflow

#: Discord's snowflakes count milliseconds from here.
_DISCORD_EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
#: A request whose lifetime is over still has to be ended, and its user told.
_ENDING = timedelta(minutes=1)
FREE = "free"
NOT_YOURS = "Only the person who asked for these images can cancel them."
OVER = "This request is over, so there is nothing left to cancel."


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A slash command as Discord gave it."""

    name: str
    prompt: str
    options: Mapping[str, str | None]  #: typed options by the flag that they stand for; none = a flag alone
    images: Mapping[str, tuple[int, int]]  #: width and height in pixels of each attached image, by parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A command that becomes a request once its images are in the object store."""

    command: Command
    line: CommandLine
    workflow: Workflow
    bound: Bound
    images: int  #: how many to draw
    known: Collection[str]  #: the names of all flags

    @property
    def command_string(self) -> str:
        """The canonical form: the prompt, then the flags that differ from their defaults."""
        said = {flag.name for flag in self.bound.flags}
        # What chose the workflow is said even where it is that workflow's default: it is not another's.
        choosing = {WORKFLOW: self.workflow.name, MODEL: self.bound.text(MODEL)}
        given = [f.name for f in self.line.flags if f.name in choosing and f.name not in said]
        flags = [*(Flag(name, choosing[name]) for name in sorted(given, reverse=True)), *self.bound.flags]
        return canonical(self.line.prompt, flags, self.known)

    @property
    def notes(self) -> list[str]:
        """Sentences about what was read otherwise than typed."""
        asked = self.workflow.count(self.bound)
        fewer = [] if self.images == asked else [f"images {asked} became {self.images}"]
        return [*self.line.notes, *self.bound.notes, *fewer]


def draft(command: Command, catalogue: Catalogue, policy: Policy, *, random_seed: int) -> Draft | Refusal:
    """Parse and check a command; ``random_seed`` holds where the command names none."""
    try:
        line = _line(command, catalogue, policy)
        flags = {flag.name: flag for flag in line.flags}
        workflow = catalogue.choose(flags, command.images)
        own = {name: flag for name, flag in flags.items() if name != WORKFLOW}
        bound = workflow.bind(line.prompt, own, command.images, random_seed)
    except CommandError as error:
        return error.refusal()
    images = min(workflow.count(bound), policy.images)
    return Draft(
        command=command, line=line, workflow=workflow, bound=bound, images=images, known=catalogue.known
    )


def request(
    ready: Draft,
    policy: Policy,
    *,
    request_id: str,
    reply_to: ReplyTo,
    now: datetime,
    inputs: list[InputImage],
    plan: str = FREE,
) -> GenerationRequested:
    """The request of a draft."""
    return GenerationRequested(
        request_id=request_id,
        requested_at=now,
        expires_at=now + policy.lifetime,
        reply_to=reply_to,
        command=ready.command.name,
        raw_input=_encodable(ready.command.prompt),
        command_string=ready.command_string,
        prompt=ready.line.prompt,
        negative_prompt=ready.bound.text(NEGATIVE),
        job=_job(ready, inputs),
        plan=plan,
        notes=ready.notes,
    )


def plan_of(user_id: str, role_ids: Collection[str], policy: Policy) -> str:
    """The plan of a user with these roles."""
    return next((plan for holder, plan in policy.plans if holder == user_id or holder in role_ids), FREE)


def take_back(
    request_id: str, user_id: str, asker_id: str | None, now: datetime, policy: Policy
) -> CancellationRequested | Refusal:
    """What comes of a press of a request's button by a user.

    Args:
        request_id: a snowflake, which says when the request was made.
        asker_id: whose request it is; none where that is not known here.  The dispatcher checks it again.
    """
    if asker_id not in (None, user_id):
        return Refusal(code=ErrorCode.INVALID_COMMAND, message=NOT_YOURS)
    made_at = _DISCORD_EPOCH + timedelta(milliseconds=int(request_id) >> 22)
    if (
        now > made_at + policy.lifetime + _ENDING
    ):  # its token had expired, so that no edit took the button away
        return Refusal(code=ErrorCode.EXPIRED, message=OVER)
    return CancellationRequested(request_id=request_id, user_id=user_id, requested_at=now)


def _line(command: Command, catalogue: Catalogue, policy: Policy) -> CommandLine:
    length = len(command.prompt) + sum(len(text or "") for text in command.options.values())
    if length > policy.command_chars:
        raise CommandError(
            f"The command has {length} characters, and at most {policy.command_chars} are allowed."
        )
    typed = [value_of(name, text, catalogue.known) for name, text in command.options.items()]
    line = parse(command.prompt, catalogue.known, typed)
    if not line.prompt:
        raise CommandError("The prompt is empty; say what to draw before the first flag.")
    if len(line.prompt) > policy.prompt_chars:
        allowed = f"at most {policy.prompt_chars} are allowed"
        raise CommandError(f"The prompt has {len(line.prompt)} characters, and {allowed}; shorten it.")
    return line


def _job(ready: Draft, inputs: list[InputImage]) -> JobSpec:
    workflow, bound = ready.workflow, ready.bound
    parameters = {name: value.text for name, value in bound.values.items()}
    if IMAGES in parameters:
        parameters[IMAGES] = str(ready.images)
    return JobSpec(
        workflow=workflow.name,
        workflow_version=workflow.version,
        graph=workflow.render(bound),
        bindings=dict(workflow.bindings),
        seed=int(bound.text(SEED)),
        images=ready.images,
        parameters=parameters,
        checkpoints=workflow.files(bound, "checkpoint"),
        loras=workflow.files(bound, "lora"),
        inputs=inputs,
    )


def _encodable(text: str) -> str:
    """``text`` with lone surrogates, which JSON can carry but UTF-8 cannot, replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
