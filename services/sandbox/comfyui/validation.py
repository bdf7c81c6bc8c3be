"""Whether ComfyUI would take a graph, and what it says if not: the exact shapes of its error JSON.

Pure, but for one habit of the original: values are converted in place to the type that their input has.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from services.sandbox.comfyui.catalogue import Catalogue

Graph = dict[str, dict[str, Any]]
Error = dict[str, Any]


class Validation(NamedTuple):
    """The verdict on one posted graph."""

    error: Error | None  #: why nothing of it runs, or None
    outputs: list[str]  #: the output nodes that will run
    node_errors: dict[str, Error]  #: not empty beside good outputs where only some outputs are bad


#: What following a link to a node or slot that is not there raises.
_BROKEN_LINK = (KeyError, IndexError, TypeError)

_CONVERT: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def validate(graph: Graph, nodes: Catalogue) -> Validation:
    """Check a graph against the node classes that are known."""
    for node_id, node in graph.items():
        if (fault := _unknown_class(node_id, node, nodes)) is not None:
            return Validation(fault, [], {})
    outputs = [i for i, node in graph.items() if nodes[node["class_type"]]["output_node"]]
    if not outputs:
        return Validation(_error("prompt_no_outputs", "Prompt has no outputs"), [], {})
    return _check_outputs(outputs, graph, nodes)


def _unknown_class(node_id: str, node: dict[str, Any], nodes: Catalogue) -> Error | None:
    if "class_type" not in node:
        message = "Cannot execute because a node is missing the class_type property."
    elif node["class_type"] not in nodes:
        message = f"Cannot execute because node {node['class_type']} does not exist."
    else:
        return None
    return _error("invalid_prompt", message, f"Node ID '#{node_id}'")


def _check_outputs(outputs: list[str], graph: Graph, nodes: Catalogue) -> Validation:
    checker = _Checker(graph, nodes)
    good: list[str] = []
    reasons: list[str] = []
    node_errors: dict[str, Error] = {}
    for output in outputs:
        errors = checker.check_output(output)
        if errors is None:
            good.append(output)
            continue
        reasons += [f"{e['message']}: {e['details']}" for e in errors]
        checker.collect(output, node_errors)
    if good:
        return Validation(None, good, node_errors)
    error = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(reasons))
    return Validation(error, [], node_errors)


class _Checker:
    """Checks nodes depth first from an output, each once, remembering what was wrong with it."""

    def __init__(self, graph: Graph, nodes: Catalogue) -> None:
        self._graph = graph
        self._nodes = nodes
        self._seen: dict[str, tuple[bool, list[Error]]] = {}

    def check_output(self, output: str) -> list[Error] | None:
        """None where the output is good, else the errors of the output node itself (not those above it)."""
        try:
            good = self._check(output)
        except _BROKEN_LINK as error:
            good = False
            self._seen[output] = (False, [_exception("validation", "validating node", error)])
        return None if good else self._seen[output][1]

    def collect(self, output: str, into: dict[str, Error]) -> None:
        """Add what is wrong so far, naming ``output`` as one that depends on it."""
        for node_id, (_, errors) in self._seen.items():
            if errors:
                class_type = self._graph[node_id]["class_type"]
                fresh = {"errors": errors, "dependent_outputs": [], "class_type": class_type}
                into.setdefault(node_id, fresh)["dependent_outputs"].append(output)

    def _check(self, node_id: str) -> bool:
        if node_id in self._seen:
            return self._seen[node_id][0]
        node = self._graph[node_id]
        errors: list[Error] = []
        above_good = True
        for name, spec in sorted(self._nodes[node["class_type"]]["input"]["required"].items()):
            found = self._check_input(node, name, spec)
            if isinstance(found, bool):
                above_good = above_good and found
            else:
                errors.append(found)
        self._seen[node_id] = (above_good and not errors, errors)
        return above_good and not errors

    def _check_input(self, node: dict[str, Any], name: str, spec: list[Any]) -> bool | Error:
        if name not in node["inputs"]:
            return _input_error("required_input_missing", "Required input is missing", name, name)
        value = node["inputs"][name]
        if isinstance(value, list):
            return self._check_link(name, spec, value)
        return _check_value(node, name, spec, value)

    def _check_link(self, name: str, spec: list[Any], link: list[Any]) -> bool | Error:
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return _input_error(
                "bad_linked_input", message, name, name, input_config=spec, received_value=link
            )
        source, slot = link
        received = self._nodes[self._graph[source]["class_type"]]["output"][slot]
        if received != spec[0]:
            return _input_error(
                "return_type_mismatch",
                "Return type mismatch between linked nodes",
                f"{name}, received_type({received}) mismatch input_type({spec[0]})",
                name,
                input_config=spec,
                received_type=received,
                linked_node=link,
            )
        try:
            return self._check(source)
        except _BROKEN_LINK as error:
            reason = _exception("inner_validation", "validating inner node", error)
            reason["extra_info"] |= {"input_name": name, "input_config": spec, "linked_node": link}
            self._seen[source] = (False, [reason])
            return False


def _check_value(node: dict[str, Any], name: str, spec: list[Any], value: Any) -> bool | Error:
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    context = {"input_config": spec, "received_value": value}
    if convert := _CONVERT.get(kind if isinstance(kind, str) else ""):
        try:
            value = node["inputs"][name] = convert(value)
        except (TypeError, ValueError) as error:
            message = f"Failed to convert an input value to a {kind} value"
            details = f"{name}, {value}, {error}"
            return _input_error(
                "invalid_input_type", message, details, name, **context, exception_message=str(error)
            )
    if "min" in options and value < options["min"]:
        message = f"Value {value} smaller than min of {options['min']}"
        return _input_error("value_smaller_than_min", message, name, name, **context)
    if "max" in options and value > options["max"]:
        message = f"Value {value} bigger than max of {options['max']}"
        return _input_error("value_bigger_than_max", message, name, name, **context)
    if isinstance(kind, list) and value not in kind:
        return _not_in_list(node, name, spec, value)
    return True


def _not_in_list(node: dict[str, Any], name: str, spec: list[Any], value: Any) -> Error:
    """A choice that is not there; LoadImage has a check of its own with an error of its own."""
    if node["class_type"] == "LoadImage":
        details = f"{name} - Invalid image file: {value}"
        return _input_error("custom_validation_failed", "Custom validation failed for node", details, name)
    few = len(spec[0]) <= 20
    shown = str(spec[0]) if few else f"(list of length {len(spec[0])})"
    return _input_error(
        "value_not_in_list",
        "Value not in list",
        f"{name}: '{value}' not in {shown}",
        name,
        input_config=spec if few else None,
        received_value=value,
    )


def _exception(during: str, when: str, error: Exception) -> Error:
    result = _error(f"exception_during_{during}", f"Exception when {when}", str(error))
    frames = traceback.format_tb(error.__traceback__)
    result["extra_info"] = {"exception_type": type(error).__name__, "traceback": frames}
    return result


def _error(kind: str, message: str, details: str = "") -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


def _input_error(kind: str, message: str, details: str, name: str, **more: Any) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": {"input_name": name, **more}}
