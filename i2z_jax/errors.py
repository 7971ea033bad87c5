# SPDX-License-Identifier: Apache-2.0
"""The one exception for bad input: what, where, expected, got, how to fix."""

from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path


class InputError(ValueError):
    """Something the user gave is not usable.

    Commands print it as one line and exit 1; library callers catch a ValueError.

    Args:
        what: what is wrong, in a few words ("no UV coordinates").
        where: the file, option or array it is wrong in.
        expected: what would have been right.
        got: what was found instead.
        fix: what the user can do about it.

    >>> str(InputError("vertex count differs", where="a.bin", expected=4, got=3))
    'a.bin: vertex count differs (expected 4, got 3)'
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        expected: object = None,
        got: object = None,
        fix: str | None = None,
    ):
        facts = [
            f"{name} {value}"
            for name, value in (("expected", expected), ("got", got))
            if value is not None
        ]
        message = f"{where}: {what}" if where is not None else what
        if facts:
            message += f" ({', '.join(facts)})"
        if fix:
            message += f"; {fix}"
        # One line whatever came in: an error is read in a terminal or a log.
        super().__init__(" ".join(message.split()))


def first_line(error: BaseException) -> str:
    """What another library says went wrong: of many lines the first, of none the type.

    >>> first_line(OSError("no space\\nand more")), first_line(OSError())
    ('no space', 'OSError')
    """
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def require_at_least(options: object, least: Mapping[str, int]) -> None:
    """Refuse numbers that mean nothing.

    Args:
        options: of a run or a command.
        least: the least that each of its fields may be, by dotted name; a field that
            is None is passed over.

    Raises:
        InputError: one is less.
    """
    for name, bound in least.items():
        value = attrgetter(name)(options)
        if value is not None and not value >= bound:  # NaN is not, either
            raise _out_of_range("too small", name, f">= {bound}", value)


def require_at_most(options: object, most: Mapping[str, int]) -> None:
    """Refuse numbers that nothing can be made with; as `require_at_least`.

    Raises:
        InputError: one is more.
    """
    for name, bound in most.items():
        value = attrgetter(name)(options)
        if value is not None and not value <= bound:
            raise _out_of_range("too large", name, f"<= {bound}", value)


def require_multiple(name: str, value: int, *, of: int) -> None:
    """Refuse a size that does not halve evenly down to the coarsest level.

    Raises:
        InputError: not a positive multiple.
    """
    if value <= 0 or value % of:
        raise _out_of_range("does not halve", name, f"a multiple of {of}", value)


def require(holds: bool, name: str, expected: str, got: object) -> None:
    """Refuse a number that is not as `expected`.

    Raises:
        InputError: it does not.
    """
    if not holds:
        raise _out_of_range("out of range", name, expected, got)


def _out_of_range(what: str, name: str, expected: str, got: object) -> InputError:
    option = "--" + name.replace("_", "-")
    return InputError(what, where=option, expected=expected, got=got)
