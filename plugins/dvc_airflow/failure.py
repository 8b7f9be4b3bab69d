"""A command that failed: the cause, by what it printed, and whether running it again can help."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from dvc_airflow.errors import REFUSED, TaskError

SHOWN_LINES = 20
# Python's own, IPython's and rich's; a SyntaxError has no such line, but a place.
TRACEBACK = re.compile(r'Traceback \(most recent call last\)|^  File "')
# What only says that another command failed: that one has said why.
OF_ANOTHER_COMMAND = re.compile(r"returned non-zero exit status|exited with code|command failed", re.IGNORECASE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# sysexits.h: EX_DATAERR, EX_NOPERM, EX_CONFIG; and what shells say of a command that is missing or no program. The same
# command would end the same way again.
FINAL_EXIT_CODES = frozenset({65, 77, 78, 126, 127})
# sysexits.h: EX_UNAVAILABLE, EX_TEMPFAIL.
PASSING_EXIT_CODES = frozenset({69, 75})
# A fault of the code, or a file that is not there, not of the moment.
FINAL_EXCEPTIONS = re.compile(
    r"(?:\w+\.)*(SyntaxError|IndentationError|TabError|NameError|UnboundLocalError|AttributeError|ImportError"
    r"|ModuleNotFoundError|TypeError|LookupError|KeyError|IndexError|ValueError|ZeroDivisionError|AssertionError"
    r"|NotImplementedError|RecursionError|UnicodeDecodeError|UnicodeEncodeError|FileNotFoundError|NotADirectoryError"
    r"|IsADirectoryError|FileExistsError)(?::|$)"
)
MISSING_FILE = re.compile(
    r"no such file|can(?:no|')t (?:open|stat|access|find)|FileNotFoundError|missing data 'source'"
    r"|(?:output|dependency|path|file|directory) '.*' does not exist|(?:OS|IO)Error: \S+ not found|No module named",
    re.IGNORECASE,
)
MISSING_COMMAND = re.compile(r"(?:^|\s)(\S+): (?:command )?not found$")
# What DVC says of a project that is wrong.
REFUSED_BY_DVC = re.compile(r"already tracked by SCM|validation failed|cannot be an output|overlapping output")
UNSET_VARIABLE = re.compile(
    r"\b([A-Za-z_]\w*): (?:unbound variable|parameter (?:null or )?not set)"
    r"|\b([A-Z_][A-Z0-9_]*)['\"`]? (?:(?:is|was) not|must be) set"
    r"|environment variable:? ['\"`]?([A-Z_][A-Z0-9_]*)['\"`]?.*(?:not set|not found|not defined|missing|required)"
)
MAY_PASS = re.compile(
    r"timed? ?-?out|connection|temporar|unavailable|refused|reset by peer|broken pipe|name resolution|name or service"
    r"|\block(?:ed)?\b|busy|too many requests|(?:http|status|code|error)\W+(?:429|50[0234])\b"
    r"|\b50[0234] (?:bad|internal|gateway|service)|MemoryError|cannot allocate|no space left|stale file handle"
    r"|input/output error|\bkilled\b|quota|try again",
    re.IGNORECASE,
)
EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::|$)")
EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)")
READ_CHARACTERS = 1000  # of a line; one without a space can be as long as a file


@dataclass(frozen=True)
class Failure:
    """A command that failed.

    :param printed: what it printed last, a line each; both streams.
    """

    command: str
    exit_code: int
    printed: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """What of the output is read for the cause."""
        return [COLOUR.sub("", line[:READ_CHARACTERS]) for line in self.printed]

    @property
    def last_traceback(self) -> list[str]:
        """The last Python traceback, with the exception as its last line; empty if there is none."""
        found = self._tracebacks()
        return self.lines[found[-1]] if found else []

    @property
    def cause(self) -> str | None:
        """The line that says why: of the last traceback, else of a shell or of DVC. It need not be the last one."""
        telling = (MISSING_FILE, MISSING_COMMAND, UNSET_VARIABLE, REFUSED_BY_DVC)
        found = [line for line in self.lines if any(words.search(line) for words in telling)]
        traceback = self.last_traceback
        if traceback and not (found and OF_ANOTHER_COMMAND.search(traceback[-1])):
            return traceback[-1].strip()
        return found[-1].strip() if found else None

    @property
    def may_pass(self) -> bool:
        """Whether it was killed, says that it may pass, or speaks of a service, a lock or a full disk."""
        code = self._code
        if code in PASSING_EXIT_CODES or code < 0 or 128 < code <= 128 + 64:  # by a signal
            return True
        lines, tracebacks = self.lines, self._tracebacks()
        # In what the last exception came from, and after it: it may have been handled, and only logged.
        said = [lines[found.stop - 1] for found in tracebacks] + (lines[tracebacks[-1].stop :] if tracebacks else [])
        return any(MAY_PASS.search(line) for line in [*said, self.cause or ""])

    @property
    def is_final(self) -> bool:
        """Whether running the command again would end the same way."""
        if self._code in FINAL_EXIT_CODES or self._is_refused:
            return True
        if self.may_pass or self.cause is None:
            return False
        final = (MISSING_FILE, MISSING_COMMAND, UNSET_VARIABLE, REFUSED_BY_DVC)
        return FINAL_EXCEPTIONS.match(self.cause) is not None or any(words.search(self.cause) for words in final)

    def seen_from(self, folder: Path) -> "Failure":
        """With paths below this folder as they are seen from there: a workspace is gone when its name is read."""
        return replace(self, printed=tuple(line.replace(f"{folder}/", "") for line in self.printed))

    def message(self, remedy: str | None = None) -> str:
        """What people read: the cause, what to do, and the last lines of the output.

        :param remedy: what to do, where that is known.
        """
        shown = "\n".join("\n".join(self.printed).strip().splitlines()[-SHOWN_LINES:])
        cause = f": {self.cause}" if self.cause else ""
        said = f"Its last output was:\n{shown}" if shown else "It printed nothing."
        to_do = f"What to do: {remedy}" if remedy else None
        parts = [f"{self.command} failed with exit code {self.exit_code}{cause}", to_do, said]
        return " ".join(
            part if part.endswith((".", "\n", "?")) or part is said else f"{part}." for part in parts if part
        )

    def _tracebacks(self) -> list[slice]:
        """Where the tracebacks are among the lines, each with its exception."""
        found, lines, start = [], self.lines, None
        for number, line in enumerate(lines):
            if TRACEBACK.search(line):
                start = number if start is None else start
            elif start is not None and EXCEPTION.match(line):
                found.append(slice(start, number + 1))
                start = None
        return found

    @property
    def _codes(self) -> list[int]:
        """The exit codes of the stage's own commands, as DVC reports them."""
        return [
            int(code) for line in self.lines for code in re.findall(r"failed to run: .*, exited with (-?\d+)", line)
        ]

    @property
    def _code(self) -> int:
        return (self._codes or [self.exit_code])[-1]

    @property
    def _is_refused(self) -> bool:
        """What a stage prints of refusals is its own affair; what DVC prints is about the remote."""
        return not self._codes and any(REFUSED.search(line) for line in self.lines[-SHOWN_LINES:])


class CommandError(TaskError):
    """A command failed.

    :param remedy: what to do, where that is known: then trying again would not help, but for what may pass.
    """

    def __init__(self, failure: Failure, remedy: str | None = None) -> None:
        super().__init__(failure.message(remedy))
        self.failure = failure
        self.is_final = failure.is_final or (remedy is not None and not failure.may_pass)
