"""Conditions on videos, as ``where=`` takes them, turned into SQL in which every value is a parameter.

A condition is a mapping of fields to values or operators, all of which must hold::

    {"camera": "front", "duration": {">": 10, "<=": 60}, "tags": {"contains": "night"},
     "added": {">=": "2026-01-01"}, "path": {"glob": "*.mp4"}, "gps.speed": {"exists": True}}

or the same as text: ``camera=front duration>10 duration<=60 tags contains night path glob *.mp4``.

Fields: ``duration`` (seconds), ``width``, ``height``, ``fps``, ``codec``, ``path`` and ``added`` are those of
the video; every other name is a field of its metadata, with a dot between the levels of nested objects
(``\\.`` is a dot in a name; a leading ``metadata.`` reaches a field that is called like one of the above).

Operators: ``= != < <= > >=``, ``in`` (a list), ``contains`` (part of a text, element of a list), ``glob`` (on
texts; ``*`` also matches ``/``), ``exists`` (true or false). Numbers compare with numbers and texts with
texts only; ``!=`` is the opposite of ``=``, so it also holds where the field is missing. A time is ISO 8601,
UTC unless it says otherwise; a date alone means all of that day.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple, NoReturn

from vtr.errors import UsageError

Where = Mapping[str, Any] | str | None

ORDER = ("<", "<=", ">", ">=")
OPERATORS = ("=", "!=", *ORDER, "in", "contains", "glob", "exists")
MAX_VALUES = 10_000  # in an "in" list
MAX_PARAMETERS = 30_000  # of all conditions together; SQLite takes 32,766
MAX_CONDITIONS = 100
MAX_DEPTH = 16  # levels of a nested field


class Term(NamedTuple):
    """What a test looks at: SQL for a value and for its JSON type."""

    value: str
    type: str


class Sql(NamedTuple):
    text: str
    params: tuple[Any, ...] = ()


COLUMNS = {
    "duration": Term("v.duration", "'real'"),
    "width": Term("v.width", "'real'"),
    "height": Term("v.height", "'real'"),
    "fps": Term("v.fps", "'real'"),
    "added": Term("v.added_at", "'real'"),
    "codec": Term("v.codec", "'text'"),
    "path": Term("CAST(v.path AS TEXT)", "'text'"),
}


def compile_where(where: Where) -> Sql:
    """SQL for ``WHERE`` over the table ``videos AS v``, with positional parameters.

    Raises:
        UsageError: an operator that there is not, or a value that does not fit it.
    """
    conditions = parse_where(where) if isinstance(where, str) else where or {}
    if not isinstance(conditions, Mapping):
        raise UsageError(f"expected where as a mapping of fields to conditions, got {type(where).__name__}")
    parts = []
    for field, condition in conditions.items():
        if not isinstance(field, str) or not field:
            raise UsageError(f"expected the name of a field, got {field!r:.80}")
        tests = condition if isinstance(condition, Mapping) else {"=": condition}
        if not tests:
            raise UsageError(f"where {field!r}: expected an operator of {' '.join(OPERATORS)}, got none")
        parts += [_compile(field, operator, operand) for operator, operand in tests.items()]
    if len(parts) > MAX_CONDITIONS:
        raise UsageError(f"expected at most {MAX_CONDITIONS} conditions, got {len(parts)}")
    found = _joined(" AND ", parts) if parts else Sql("1")
    if len(found.params) > MAX_PARAMETERS:
        raise UsageError(f"expected at most {MAX_PARAMETERS:,} values in all, got {len(found.params):,}")
    return found


def _compile(field: str, operator: Any, operand: Any) -> Sql:
    if operator == "!=":
        inner = _compile(field, "=", operand)
        return Sql(f"NOT {inner.text}", inner.params)
    if operator == "exists":
        if not isinstance(operand, bool):
            raise UsageError(f"where {field!r} exists: expected true or false, got {operand!r:.80}")
        inner = Sql("1") if field in COLUMNS else _in_metadata(field, lambda term: Sql("1"))
        return inner if operand else Sql(f"NOT ({inner.text})", inner.params)
    if operator not in OPERATORS:
        raise UsageError(
            f"where {field!r}: expected an operator of {' '.join(OPERATORS)}, got {operator!r:.80}"
        )
    if field == "added":
        return _time_test(operator, operand)
    if field not in COLUMNS:
        return _in_metadata(field, lambda term: _test(field, term, operator, operand))
    if field == "path" and isinstance(operand, os.PathLike):
        operand = os.fspath(operand)
    for value in operand if operator == "in" and _is_list(operand) else [operand]:
        if COLUMNS[field].type != "'text'":
            _number(field, value)
        elif not isinstance(value, str):
            raise UsageError(f"where {field!r}: expected text, got {value!r:.80}")
    return _test(field, COLUMNS[field], operator, operand)


def _in_metadata(field: str, test: Callable[[Term], Sql]) -> Sql:
    """``test`` on a metadata field. Names are compared as values, so no name can break out of a path."""
    names = _levels(field)
    sources = ["json_each(v.metadata) AS j0"]
    for level in range(1, len(names)):
        above = f"j{level - 1}"
        sources.append(
            f"json_each(CASE {above}.type WHEN 'object' THEN {above}.value ELSE '{{}}' END) AS j{level}"
        )
    keys = " AND ".join(f"j{level}.key = {_MARK}" for level in range(len(names)))
    last = f"j{len(names) - 1}"
    inner = test(Term(f"{last}.value", f"{last}.type"))
    return Sql(
        f"EXISTS (SELECT 1 FROM {', '.join(sources)} WHERE {keys} AND {inner.text})",
        (*map(_text, names), *inner.params),
    )


def _levels(field: str) -> list[str]:
    parts = re.findall(r"(?:\\.|[^.\\])+", field, re.DOTALL)
    if not re.fullmatch(r"(?:\\.|[^.\\])+(?:\.(?:\\.|[^.\\])+)*", field, re.DOTALL):
        raise UsageError(f"where {field!r:.80}: expected names with a dot between them")
    names = [re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in parts]
    if len(names) > 1 and names[0] == "metadata":
        names = names[1:]
    if len(names) > MAX_DEPTH:
        raise UsageError(f"where {field!r:.80}: expected at most {MAX_DEPTH} levels, got {len(names)}")
    return names


# ---- tests on one value ------------------------------------------------------------------------------

_MARK = "CAST(? AS TEXT)"  # texts are bound as bytes: a path's bytes need not be UTF-8
_NUMERIC = "IN ('integer', 'real')"


def _test(field: str, term: Term, operator: str, operand: Any) -> Sql:
    value, kind = term
    if operator == "=":
        return _equals(field, term, operand)
    if operator == "in":
        if not _is_list(operand) or len(operand) > MAX_VALUES:
            raise UsageError(f"where {field!r} in: expected a list of at most {MAX_VALUES} values")
        texts = tuple(_text(item) for item in operand if isinstance(item, str))
        numbers = tuple(_number(field, item) for item in operand if not isinstance(item, str))
        text_marks, number_marks = ", ".join([_MARK] * len(texts)), ", ".join("?" * len(numbers))
        return Sql(
            f"({kind} = 'text' AND {value} IN ({text_marks})"
            f" OR {kind} {_NUMERIC} AND {value} IN ({number_marks}))",
            texts + numbers,
        )
    if operator in ORDER:
        if isinstance(operand, str):
            return Sql(f"({kind} = 'text' AND {value} {operator} {_MARK})", (_text(operand),))
        return Sql(f"({kind} {_NUMERIC} AND {value} {operator} ?)", (_number(field, operand),))
    if operator == "glob":
        if not isinstance(operand, str):
            raise UsageError(f"where {field!r} glob: expected a pattern as text, got {operand!r:.80}")
        return Sql(f"({kind} = 'text' AND {value} GLOB {_MARK})", (_text(operand),))
    return _contains(field, term, operand)


def _contains(field: str, term: Term, operand: Any) -> Sql:
    value, kind = term
    if field in COLUMNS and not isinstance(operand, str):
        raise UsageError(f"where {field!r}: a number contains nothing; use = or <")
    element = _equals(field, Term("e.value", "e.type"), operand)
    among = (
        f"EXISTS (SELECT 1 FROM json_each(CASE {kind} WHEN 'array' THEN {value} ELSE '[]' END) AS e "
        f"WHERE {element.text})"
    )
    if not isinstance(operand, str):
        return Sql(among, element.params)
    part = f"{kind} = 'text' AND instr({value}, {_MARK}) > 0"
    return Sql(f"({part} OR {among})", (_text(operand), *element.params))


def _equals(field: str, term: Term, operand: Any) -> Sql:
    value, kind = term
    if operand is None:
        return Sql(f"({kind} = 'null')")
    if isinstance(operand, bool):
        return Sql(f"({kind} = '{str(operand).lower()}')")
    if isinstance(operand, str):
        return Sql(f"({kind} = 'text' AND {value} = {_MARK})", (_text(operand),))
    return Sql(f"({kind} {_NUMERIC} AND {value} = ?)", (_number(field, operand),))


def _joined(glue: str, parts: Sequence[Sql]) -> Sql:
    return Sql(glue.join(part.text for part in parts), tuple(p for part in parts for p in part.params))


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset))


def _text(value: str) -> bytes:
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"expected text that UTF-8 can hold, got {value!r:.80}") from None


def _number(field: str, value: Any) -> int | float:
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return value if isinstance(value, float) or abs(value) < 1 << 63 else float(value)
    except OverflowError:  # beyond what a float holds
        pass
    raise UsageError(f"where {field!r}: expected text or a finite number, got {value!r:.80}")


def _time_test(operator: str, operand: Any) -> Sql:
    """Tests on when a video was added, in seconds since 1970; a date is the span of its day."""
    if operator not in ("=", *ORDER):
        raise UsageError(f"where 'added': expected an operator of = != {' '.join(ORDER)}, got {operator!r}")
    start, end = _span(operand)
    if operator == "=" and end > start:
        return Sql("(v.added_at >= ? AND v.added_at < ?)", (start, end))
    if end > start:  # "> day" and "<= day" are about the end of the day, the others about its start
        operator, bound = {">": (">=", end), "<=": ("<", end)}.get(operator, (operator, start))
        return Sql(f"(v.added_at {operator} ?)", (bound,))
    return Sql(f"(v.added_at {operator} ?)", (start,))


def _span(operand: Any) -> tuple[float, float]:
    if isinstance(operand, (int, float)) and not isinstance(operand, bool):
        seconds = float(_number("added", operand))
        return seconds, seconds
    try:
        text = operand.isoformat() if hasattr(operand, "isoformat") else operand
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        whole_day = re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text) is not None
        return moment.timestamp(), (moment + timedelta(days=1 if whole_day else 0)).timestamp()
    except (TypeError, ValueError, OverflowError):
        raise UsageError(
            "where 'added': expected a date or time such as 2026-01-31 or 2026-01-31T12:00:00, "
            f"got {operand!r:.80}"
        ) from None


# ---- conditions as text ------------------------------------------------------------------------------

_QUOTED = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
_ITEM = rf"(?:{_QUOTED}|[^\s\"',]+)"
_CONDITION = re.compile(
    rf"""\s*(?:and\s+)?
    (?P<field>{_QUOTED}|[^\s"'=!<>()]+)
    (?: \s*(?P<sign>!=|<=|>=|==|=|<|>)\s*   (?P<value>{_QUOTED}|[^\s"'=<>!][^\s]*)
      | \s+in\s+                            (?P<list>{_ITEM}(?:\s*,\s*{_ITEM})*)
      | \s+(?P<word>contains|glob)\s+       (?P<operand>{_QUOTED}|[^\s"'][^\s]*)
      | \s+(?P<exists>exists|missing)
    )(?=\s|$)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def parse_where(text: str) -> dict[str, dict[str, Any]]:
    """Conditions as text, such as ``duration>10 camera=front``, to the mapping that says the same.

    Conditions stand beside each other, with ``and`` between them or nothing. A bare value is a number,
    ``true``, ``false`` or ``null`` where it reads as one, and a text otherwise; in quotes it is a text.

    Raises:
        UsageError: the text is not made of conditions; the message shows where.
    """
    result: dict[str, dict[str, Any]] = {}
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _CONDITION.match(text, position)
        if match is None:
            _refuse(text, position)
        if len(result) >= MAX_CONDITIONS:
            raise UsageError(f"expected at most {MAX_CONDITIONS} fields with conditions, got more")
        position = match.end()
        field = match["field"]
        field = _unquoted(field).replace("\\", r"\\").replace(".", r"\.") if field[0] in "\"'" else field
        operator, operand = _read(field, match)
        if operator in result.setdefault(field, {}):
            raise UsageError(f"where {field!r}: {operator} is given twice")
        result[field][operator] = operand
    return result


def _refuse(text: str, position: int) -> NoReturn:
    raise UsageError(
        "expected conditions such as: duration>10 camera=front 'tags contains night' 'lane in 1,2'; "
        f"cannot read {text[position:].strip()!r:.80}"
    )


def _read(field: str, match: re.Match[str]) -> tuple[str, Any]:
    if match["sign"]:
        return match["sign"].replace("==", "="), _value(field, match["value"])
    if match["list"]:
        items = re.findall(_ITEM, match["list"], re.DOTALL)
        return "in", [_value(field, item) for item in items]
    if match["word"]:
        operator = match["word"].lower()
        operand = match["operand"]
        return operator, _unquoted(operand) if operator == "glob" else _value(field, operand)
    return "exists", match["exists"].lower() == "exists"


def _value(field: str, text: str) -> Any:
    if text[0] in "\"'" or field in ("codec", "path", "added"):
        return _unquoted(text)
    if text in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text]
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?", text):
        return float(text)
    return text


def _unquoted(text: str) -> str:
    if text[0] in "\"'" and len(text) > 1 and text[-1] == text[0]:
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    return text
