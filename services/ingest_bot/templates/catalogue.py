"""The installed workflows together: which flags there are, and which workflow a command asks for.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from services.contracts.errors import ErrorCode
from services.ingest_bot.command_line import Flag, nearest
from services.ingest_bot.refusals import CommandError, shown
from services.ingest_bot.templates.manifest import (
    MODEL,
    PROMPT,
    WORKFLOW,
    ChoiceParameter,
    ImageParameter,
    Parameter,
)
from services.ingest_bot.templates.problems import MANIFEST, Problem, WorkflowError
from services.ingest_bot.templates.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Workflows by name, and the names of all their flags."""

    workflows: Mapping[str, Workflow]
    known: frozenset[str]  #: every flag of some workflow, and ``workflow``
    images: frozenset[str]  #: every image parameter of some workflow

    @classmethod
    def of(cls, workflows: Iterable[Workflow]) -> Catalogue:
        """Put workflows together.

        Raises:
            WorkflowError: two of them do not go together.
        """
        by_name = {workflow.name: workflow for workflow in workflows}
        if problems := _clashes(list(by_name.values())):
            raise WorkflowError("workflows", problems)
        names = {name for workflow in by_name.values() for name in workflow.manifest.parameters}
        images = frozenset(image for workflow in by_name.values() for image in workflow.images)
        return cls(by_name, frozenset(names - {PROMPT} | {WORKFLOW}), images)

    def parameters(self) -> dict[str, list[Parameter]]:
        """Each parameter's definitions in all workflows, in order of first mention; all have one type."""
        found: dict[str, list[Parameter]] = {}
        for workflow in self.workflows.values():
            for name, parameter in workflow.manifest.parameters.items():
                found.setdefault(name, []).append(parameter)
        return found

    def choose(self, flags: Mapping[str, Flag], images: Collection[str]) -> Workflow:
        """The workflow for ``flags`` and attached ``images``.

        ``--workflow`` names it; otherwise it is the one that takes these images and has the ``--model``, or
        the default one.

        Raises:
            CommandError: none fits, or not all flags are the chosen one's.
        """
        fitting = [w for w in self.workflows.values() if w.images == frozenset(images)]
        if not fitting:
            raise CommandError(
                "No workflow that is installed here takes the attached image; send the command without it."
            )
        if named := flags.get(WORKFLOW):
            chosen = self._named(named.value or "", fitting)
        elif model := flags.get(MODEL):
            chosen = self._with_model(model.value or "", fitting)
        else:
            chosen = _default(fitting)
        self._require_flags(chosen, flags)
        return chosen

    def _named(self, name: str, fitting: list[Workflow]) -> Workflow:
        workflow = self.workflows.get(name.casefold())
        if workflow is None:
            raise CommandError(
                f"There is no workflow {shown(name)}; there are {_listed(self.workflows)}.",
                ErrorCode.UNKNOWN_WORKFLOW,
            )
        if workflow not in fitting:
            raise CommandError(f"The workflow `{workflow.name}` {_wants(workflow)}.")
        return workflow

    def _with_model(self, model: str, fitting: list[Workflow]) -> Workflow:
        folded = model.casefold()
        if found := [w for w in fitting if folded in _models(w)]:
            return _default(found)
        if elsewhere := [w for w in self.workflows.values() if folded in _models(w)]:
            raise CommandError(f"The model `{folded}` {_wants(elsewhere[0])}.")
        models = sorted({name for w in fitting for name in _models(w)})
        meant = nearest(folded, models) if folded else None
        hint = f"; did you mean `{meant}`?" if meant else f"; there are {_listed(models)}."
        raise CommandError(f"There is no model {shown(model)}{hint}")

    def _require_flags(self, chosen: Workflow, flags: Mapping[str, Flag]) -> None:
        for name in flags:
            if name in chosen.manifest.parameters or name == WORKFLOW:
                continue
            other = next((w for w in self.workflows.values() if name in w.manifest.parameters), None)
            if other is None or isinstance(other.manifest.parameters[name], ImageParameter):
                raise CommandError(
                    f"`--{name}` takes no link; attach the image with the command's option {name}."
                )
            where = _wants(other) if other.images != chosen.images else f"needs --workflow {other.name}"
            raise CommandError(f"`--{name}` {where}.")


def _default(workflows: list[Workflow]) -> Workflow:
    return next((w for w in workflows if w.manifest.default), workflows[0])


def _models(workflow: Workflow) -> set[str]:
    parameter = workflow.manifest.parameters.get(MODEL)
    return (
        {name.casefold() for name in parameter.choices} if isinstance(parameter, ChoiceParameter) else set()
    )


def _wants(workflow: Workflow) -> str:
    if workflow.images:
        return f"needs an attached image; attach one with the option {' and '.join(sorted(workflow.images))}"
    return "does not start from an image; send the command without the attachment"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _clashes(workflows: list[Workflow]) -> list[Problem]:
    """What would make a command mean two things."""
    found = []
    for one, other in combinations(workflows, 2):
        file = f"{other.name}/{MANIFEST}"
        shared = one.manifest.parameters.keys() & other.manifest.parameters.keys()
        for name in sorted(shared):
            if type(one.manifest.parameters[name]) is not type(other.manifest.parameters[name]):
                text = f"has another type than in {one.name}; a flag means one thing"
                found.append(Problem(file, f"parameters.{name}.type", text))
        if one.images != other.images:
            continue
        if one.manifest.default and other.manifest.default:
            found.append(
                Problem(file, "default", f"{one.name} is the default for the same attachments already")
            )
        for model in sorted(_models(one) & _models(other)):
            text = f"{model!r} already chooses {one.name}; rename it, or leave model out and use --workflow"
            found.append(Problem(file, "parameters.model.choices", text))
    if not any(not workflow.images for workflow in workflows):
        found.append(Problem("", "", "expected at least one workflow that needs no image"))
    return found
