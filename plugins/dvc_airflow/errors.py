"""The errors of a task, in sentences for people.

Each message says what is wrong, where, and what to do next. ``is_final`` says whether a retry would end the same way:
then Airflow must not retry it.
"""

import re

# What S3 clients print when a store refuses the credentials.
REFUSED = re.compile(
    r"\b(Forbidden|Access ?Denied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|Unable to locate credentials"
    r"|NoCredentialsError)\b|Access Key Id you provided does not exist",
    re.IGNORECASE,
)


def in_words(error: OSError) -> str:
    """What the system refuses, and where."""
    return f"{error.filename or 'this machine'}: {error.strerror or error}"


class TaskError(Exception):
    """A stage or a push cannot go on."""

    is_final = True


class RemoteError(TaskError):
    """The DVC remote does not answer, or fails. Retried."""

    is_final = False


class RemoteRefusedError(RemoteError):
    """The DVC remote refuses the credentials, or there are none."""

    is_final = True


class MissingPackageError(TaskError):
    """A package is not installed that DVC needs for an address of this kind."""


class ElsewhereError(TaskError):
    """What a stage reads lies outside the project, and is not there or cannot be reached. Retried."""

    is_final = False


class WorkspaceError(TaskError):
    """A workspace cannot be made."""

    is_final = False


class DvcError(TaskError):
    """DVC refuses the project, or fails.

    :param is_final: a file of the project is wrong.
    """

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class CorruptedCacheError(TaskError):
    """The cache held a corrupted object, which is removed now. The next try succeeds."""

    is_final = False


class UnexpectedResultError(TaskError):
    """A stage left something other than a result of its inputs. Retried: a disk may have failed in between."""

    is_final = False


class ResultError(TaskError):
    """The result of an earlier task is missing, changed or of another version."""


class CodeError(TaskError):
    """The code of the run is missing, damaged, or cannot be packed."""


class ChangingCodeError(CodeError):
    """The project changes while it is packed. Retried."""

    is_final = False
