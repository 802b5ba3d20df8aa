"""Refuses what was typed after `make` where nothing would take it, before anything runs.

    python3 -m foundation.make.typed PID MAKEFILE

PID is make's. Prints one line where a goal or a variable is unknown, no recipe of these goals takes
it, its value is missing, or it is given twice; else nothing. Variables of the environment, and
those that a make above hands down, are not typed and never refused. Reads /proc: elsewhere than on
Linux nothing is refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundation.text import did_you_mean, one_line

_MAY_BE_EMPTY = ("ARGS",)
"""Scripts hand on what they were given, which may be nothing."""

_OF_MAKE = ("MAKEFLAGS", "SHELL", "VPATH")

_WITH_A_WORD = {
    *("--directory", "--file", "--makefile", "--include-dir", "--eval"),
    *("--old-file", "--assume-old", "--what-if", "--new-file", "--assume-new"),
}
"""Options whose value may be the next word; of short ones, those that end in one of "CfIoWE"."""

_ASSIGNMENT = re.compile(r"([^\s:=#+?!-][^\s:=#+?!]*)(?::{1,3}|[+?!])?=(.*)", re.DOTALL)


@dataclass
class Makefile:
    """What a Makefile defines and runs, as far as this module needs it."""

    variables: dict[str, str] = field(default_factory=dict)
    """Name → its text; a line that defines nothing is left out."""
    settings: list[str] = field(default_factory=list)
    """Those that a person may set: `?=`."""
    needs: dict[str, list[str]] = field(default_factory=dict)
    """Target → other targets."""
    recipes: dict[str, str] = field(default_factory=dict)
    """Target → its recipe; empty where it has none."""

    def taken(self, goals: Iterable[str]) -> set[str]:
        """The variables that the recipes of these goals use, by way of others too."""
        found = set[str]()
        for goal in goals:
            found |= self.taken(self.needs.get(goal, ()))
            found |= self._used(self.recipes.get(goal, ""))
        return found

    def _used(self, text: str) -> set[str]:
        names = set(re.findall(r"\$\((\w+)", text)) & self.variables.keys()
        return names.union(*(self._used(self.variables[name]) for name in names))


def read(text: str) -> Makefile:
    """Reads a Makefile: one definition, one rule or one command a line."""
    found, goals = Makefile(), list[str]()
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("\t"):
            for goal in goals:
                found.recipes[goal] += f"{line}\n"
        elif defined := re.match(r"(\w+) *([:?+]?)=(.*)", line):
            found.variables[defined[1]] = defined[3]
            if defined[2] == "?":
                found.settings.append(defined[1])
        elif rule := re.match(r"([^\s#.][^:#]*):([^=#]?[^#]*)", line):
            goals = rule[1].split()
            found.needs |= dict.fromkeys(goals, rule[2].split())
            found.recipes |= dict.fromkeys(goals, "")
    return found


def refusal(typed: Sequence[str], makefile: Makefile, folder: Path) -> str:
    """Why these words after `make` are refused: one line, or nothing.

    Args:
        typed: the command line without its first word.
        makefile: what there is.
        folder: make's; a file in it is a goal too.
    """
    goals, assigned = _parts(typed)
    for place, goal in enumerate(goals):
        known = goal in makefile.recipes or not re.fullmatch(r"[\w-]+", goal)
        if not known and not (folder / goal).exists():
            refused = f"Expected a target of `make help`. Received: {goal}."
            return refused + _meant_by(goals, place, makefile)
    taken = makefile.taken(goals)
    values: dict[str, str] = {}
    for name, value in assigned:
        if values.setdefault(name, value) != value:
            return f"Expected {name} once. Received: {name}={values[name]} and {name}={value}."
        if name in _OF_MAKE:
            continue
        if name not in taken:
            return _not_taken(name, value, goals, taken, makefile)
        if any(f"$(filter 1,$({name}))" in recipe for recipe in makefile.recipes.values()):
            if value not in ("", "0", "1"):
                return f"Expected {name}=1, or 0. Received: {name}={value}."
        elif not value.strip() and name not in _MAY_BE_EMPTY:
            return f"Expected a value for {name}. Received: {name}= without one. Or leave it out."
    return ""


def _parts(typed: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Goals, and variables with their values; options of make are left out."""
    goals, assigned = list[str](), list[tuple[str, str]]()
    words = iter(typed)
    for word in words:
        if word.startswith("-"):
            if word in _WITH_A_WORD or re.fullmatch("-[^-]*[CfIoWE]", word):
                next(words, None)
        elif assignment := _ASSIGNMENT.fullmatch(word):
            assigned.append((assignment[1], assignment[2]))
        else:
            goals.append(word)
    return goals, assigned


def _meant_by(goals: Sequence[str], place: int, makefile: Makefile) -> str:
    """A hint for a goal that there is none of."""
    goal, words = goals[place], " ".join(goals[place:])
    if f"k8s-{goal}" in makefile.recipes:  # the one acts here, the other in a cluster
        return f' Here it is make rollout ARGS="{words}", in a cluster make k8s-{goal}.'
    meant = did_you_mean(goal, (name for name in makefile.recipes if "$" not in name))
    if not meant and place and "ARGS" in makefile.taken(goals[:1]):
        return f' Words for the command go into ARGS: make {goals[0]} ARGS="{words}".'
    return meant


def _not_taken(
    name: str, value: str, goals: Sequence[str], taken: set[str], makefile: Makefile
) -> str:
    settings = [setting for setting in makefile.settings if setting in taken]
    others = [goal for goal in makefile.recipes if name in makefile.taken([goal])]
    makes = f"`make {' '.join(goals)}`" if goals else "`make`"
    said = f"Expected {_listed(settings, 'or')} with {makes}. Received: {name}={value}"
    if name in makefile.settings and others:
        way = _by_a_flag(name, value) if "ARGS" in settings else ""
        return f"{said}, which is for make {_listed(others, 'and')}.{way}"
    meant = did_you_mean(name, settings) or did_you_mean(name, makefile.settings)
    if not meant and "ARGS" in settings:
        meant = _by_a_flag(name, value)
    return f"{said}.{meant}"


def _by_a_flag(name: str, value: str) -> str:
    flag = "--" + name.lower().replace("_", "-")
    return f' Flags of the command go into ARGS, such as ARGS="{flag} {value}".'


def _listed(names: Sequence[str], word: str) -> str:
    if len(names) < 2:
        return "".join(names) or "no variable"
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def main(argv: Sequence[str]) -> int:
    """Prints the refusal, if there is one."""
    pid, makefile = argv
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="backslashreplace")
    except OSError:
        return 0
    typed = words.split("\0")[1:-1]
    said = refusal(typed, read(Path(makefile).read_text(encoding="utf-8")), Path())
    if said:
        print(one_line(said).rstrip("."))  # make puts one behind it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
