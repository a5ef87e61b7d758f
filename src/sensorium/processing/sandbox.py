"""The Jinja of chat templates: what `transformers` offers them, in a sandbox with limits.

A template comes with a checkpoint, so it is a stranger's program. It sees plain data only, cannot reach an attribute
that leads out, and its work is bounded: loop turns, the size of each value, the length of all text it makes.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from sensorium.errors import CheckpointError, DataError
from sensorium.processing.files import one_line

MAX_TURNS = 100_000
MAX_CHARACTERS = 16_000_000
_MAX_MADE = 2**29  # characters and elements of all values together
_MAX_NUMBER = 1_000_000
_MAX_SOURCE = 1_000_000
# Filters that write more than they are given by a number in the template; no published template needs them.
_UNBOUNDED_FILTERS = ("batch", "center", "format", "slice", "urlize", "wordwrap", "xmlattr", "pprint")


class CompiledTemplate:
    """A template ready to run.

    Args:
        source: Jinja.
        generation: strings to write around a `{% generation %}` block, transformers' mark of the assistant's words.

    Attributes:
        marks_generation: whether the template holds such a block.

    Raises:
        CheckpointError: when the source is not a template.
    """

    def __init__(self, source: str, generation: tuple[str, str]) -> None:
        if len(source) > _MAX_SOURCE:
            raise CheckpointError(f"the chat template has {len(source)} characters; the limit is {_MAX_SOURCE}")
        self._environment = _Environment(generation)
        try:
            self._template = self._environment.from_string(_Bounded().visit(self._environment.parse(source)))
        except TemplateSyntaxError as error:
            raise CheckpointError(f"the chat template is broken at line {error.lineno}: {one_line(error)}") from None
        except (RecursionError, SyntaxError, MemoryError, ValueError, TemplateError) as error:
            raise CheckpointError(f"the chat template cannot be compiled: {one_line(error)}") from None
        self.marks_generation = self._environment.marks_generation

    def render(self, variables: Mapping[str, Any]) -> str:
        """Run the template. Raises `DataError`, in one line, when it fails, refuses the input or exceeds a limit."""
        before = _spent.set(_Spent())
        try:
            return self._template.render(dict(variables))
        except SecurityError as error:
            raise DataError(f"the chat template does what it must not: {one_line(error)}") from None
        except Exception as error:  # a template can raise anything
            raise DataError(f"the chat template refuses this conversation: {one_line(error)}") from None
        finally:
            _spent.reset(before)


@dataclass
class _Spent:
    """What one rendering has used up."""

    turns: int = 0
    written: int = 0
    made: int = 0


_spent: ContextVar[_Spent] = ContextVar("spent")
# Names that no template can know.
_TURN, _JOIN, _WRITE = (f"{name}_{secrets.token_hex(16)}" for name in ("turn", "join", "write"))


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, generation: tuple[str, str]) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.generation = generation
        self.marks_generation = False
        kept = {name: run for name, run in self.filters.items() if name not in _UNBOUNDED_FILTERS}
        self.filters = {name: _guarded(name, run) for name, run in (kept | {"tojson": _tojson}).items()}
        self.globals = {
            "range": self.globals["range"],
            "dict": lambda *args, **kwargs: dict(*args, **kwargs),
            "namespace": _Namespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
            _TURN: _turn,
            _JOIN: _join,
            _WRITE: _write,
        }

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise SecurityError(f"reading {attribute!r} of a {type(obj).__name__}")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_size(operator, left, right)
        return _count(super().call_binop(context, operator, left, right))

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if function in (_turn, _join, _write):
            return function(*args)
        method = getattr(function, "__wrapped__", function)  # the sandbox has its own `format`
        if isinstance(text := getattr(method, "__self__", None), str):
            args = _check_method(method.__name__, text, args, kwargs)
        for value in (*args, *kwargs.values()):
            if isinstance(value, int) and abs(value) > _MAX_NUMBER:
                raise SecurityError(f"a call with the number {value}, beyond {_MAX_NUMBER}")
        return _count(super().call(context, function, *args, **kwargs))


class _Namespace(Namespace):
    """Jinja's `namespace`, without names that mean something to Python."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        own, *given = args
        names = dict(*given, **kwargs)
        for name in names:
            _check_name(name)
        Namespace.__init__(own, names)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


class _Bounded(NodeTransformer):
    """Counts the turns of loops and macros and all that is written; `~` joins no more than the limit."""

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802
        # Also within {% set %} blocks and macros, whose text is put together before anything is rendered.
        self.generic_visit(node)
        written = [nodes.Const(part.data) if isinstance(part, nodes.TemplateData) else part for part in node.nodes]
        node.nodes = [nodes.Call(nodes.Name(_WRITE, "load"), [part], [], None, None) for part in written]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:  # noqa: N802 (Jinja's own form)
        self.generic_visit(node)
        return nodes.Call(nodes.Name(_JOIN, "load"), node.nodes, [], None, None)

    def _counted(self, node: Any) -> Any:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(nodes.Call(nodes.Name(_TURN, "load"), [], [], None, None)))
        return node

    visit_For = visit_Macro = visit_CallBlock = _counted  # noqa: N815


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own form)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        self.environment.marks_generation = True  # type: ignore[attr-defined]
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        begin, end = self.environment.generation  # type: ignore[attr-defined]
        return f"{begin}{caller()}{end}"


def _check_name(name: object) -> None:
    if not isinstance(name, str) or name.startswith("_"):
        raise SecurityError(f"the name {name!r} in a namespace")


def _turn() -> str:
    spent = _spent.get()
    spent.turns += 1
    if spent.turns > MAX_TURNS:
        raise SecurityError(f"more than {MAX_TURNS} turns of its loops")
    return ""


def _write(value: object) -> str:
    _weigh(value)
    text, spent = str(value), _spent.get()
    spent.written += len(text)
    if spent.written > MAX_CHARACTERS:
        raise SecurityError(f"more than {MAX_CHARACTERS} characters of output")
    return text


def _join(*values: object) -> str:
    _weigh(values)
    return str(_count("".join(str(value) for value in values)))


def _count(value: Any) -> Any:
    """A value that the template has made, once it is counted."""
    if isinstance(value, str | list | tuple):
        spent = _spent.get()
        spent.made += len(value)
        if spent.made > _MAX_MADE:
            raise SecurityError(f"more than {_MAX_MADE} characters in all its values")
    return value


def _limit(size: int) -> None:
    if size > MAX_CHARACTERS:
        raise SecurityError(f"a value of more than {MAX_CHARACTERS} characters")


def _weigh(*values: object) -> int:
    """Characters and elements at all depths, a list counted as often as it is held: what writing them out takes."""
    total, left = 0, list(values)
    while left:
        value = left.pop()
        if isinstance(value, str | list | tuple | dict):
            total += len(value)
            _limit(total)
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            left += value
    return total


def _guarded(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that looks at the size of what it would make first."""
    passed = int(hasattr(run, "jinja_pass_arg"))  # the environment, for filters that ask for it

    @wraps(run)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        own, given = args[:passed], args[passed:]
        if name == "join":
            given = (list(given[0]), *given[1:])
            _limit(_weigh(given[0]) + len(given[0]) * len(str(given[1] if len(given) > 1 else kwargs.get("d", ""))))
        _weigh(*given, *kwargs.values())
        if name == "replace":
            given = (str(given[0]), *given[1:])
            _check_method("replace", given[0], given[1:], kwargs)
        elif name == "indent":
            width = given[1] if len(given) > 1 else kwargs.get("width", 4)
            lines = str(given[0]).count("\n") + 1
            _limit(len(str(given[0])) + lines * (width if isinstance(width, int) else len(width)))
        return _count(run(*own, *given, **kwargs))

    return guarded


_WIDE_FORMAT = re.compile(r"\{[^{}]*[:.](?:[^}]*\d{4}|[^}]*\{)")


def _check_method(name: str, text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Refuse a method of a string whose result would be huge; gives the arguments to call it with."""
    if name == "join" and args:
        args = (list(args[0]),)
        _limit(_weigh(args[0]) + len(text) * len(args[0]))
    elif name == "replace":
        old, new = (str(value) for value in (*args, *kwargs.values())[:2])
        _limit(len(text) + text.count(old) * len(new))
    elif name == "expandtabs":
        size = (*args, *kwargs.values(), 8)[0]
        _limit(len(text) + text.count("\t") * abs(size))
    elif name in ("format", "format_map"):
        if _WIDE_FORMAT.search(text):
            raise SecurityError("formatting with a width beyond 999")
        _limit(len(text) + text.count("{") * (1000 + _weigh(*args, *kwargs.values())))
    elif name == "translate":
        raise SecurityError("the method translate")
    return args


def _check_size(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result would be huge."""
    sized = [value for value in (left, right) if isinstance(value, str | list | tuple)]
    if operator == "%" and isinstance(left, str):
        raise SecurityError("formatting with %")
    if operator == "**" or (operator == "*" and not sized):
        size = max((abs(value) for value in (left, right) if isinstance(value, int | float)), default=0)
        if size > _MAX_NUMBER or (operator == "**" and isinstance(right, int) and abs(right) > 64):
            raise SecurityError(f"the operation {operator} on numbers beyond its limit")
    elif operator == "*":
        count = right if sized[0] is left else left
        if isinstance(count, int) and len(sized[0]) * count > _MAX_NUMBER:
            raise SecurityError(f"a value of more than {_MAX_NUMBER} elements")
    elif operator == "+" and len(sized) == 2 and len(left) + len(right) > MAX_CHARACTERS:
        raise SecurityError(f"a value of more than {MAX_CHARACTERS} elements")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if indent is not None and indent > 16:
        raise SecurityError(f"tojson with indent {indent}, beyond 16")
    if separators is not None and sum(map(len, separators)) > 16:
        raise SecurityError("tojson with separators of more than 16 characters")
    written, length = [], 0
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    for piece in encoder.iterencode(value):
        length += len(piece)
        _limit(length)
        written.append(piece)
    return "".join(written)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
