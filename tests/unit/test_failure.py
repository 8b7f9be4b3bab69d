"""What a failed command says of its cause, and whether trying again can help."""

import pytest

from dvc_airflow.command import CommandRunner, base_environment
from dvc_airflow.failure import READ_CHARACTERS, CommandError, Failure

TRACEBACK = ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>', "    fail()"]
REPRO = "ERROR: failed to reproduce 'x': failed to run: python x.py, exited with 1"


def failed(*printed: str, exit_code: int = 255) -> Failure:
    return Failure("dvc repro x", exit_code, printed)


@pytest.mark.parametrize(
    "last",
    [
        "AttributeError: 'NoneType' object has no attribute 'x'",
        "ModuleNotFoundError: No module named 'helpers'",
        "ImportError: cannot import name 'x' from 'y'",
        "NameError: name 'x' is not defined",
        "TypeError: f() missing 1 required positional argument: 'x'",
        "KeyError: 'species'",
        "ValueError: Input X contains NaN.",
        "ZeroDivisionError: division by zero",
        "AssertionError",
        "FileNotFoundError: [Errno 2] No such file or directory: 'x.csv'",
        "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ],
)
def test_a_fault_of_the_code_or_a_missing_file_is_final_and_the_cause_is_named(last):
    failure = failed(*TRACEBACK, last, REPRO)

    assert failure.is_final
    assert failure.cause == last


@pytest.mark.parametrize(
    "last",
    [
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        "requests.exceptions.ConnectTimeout: HTTPConnectionPool(host='x', port=80): Max retries exceeded",
        "urllib.error.HTTPError: HTTP Error 503: Service Unavailable",
        "sqlite3.OperationalError: database is locked",
        "MemoryError",
        "OSError: [Errno 28] No space left on device",
        "ValueError: bad answer of the server: 502 Bad Gateway",
        "AttributeError: 'ConnectionError' object has no attribute 'x'",
        "mine.PartnerError: they said no",
    ],
)
def test_what_may_pass_is_retried(last):
    assert not failed(*TRACEBACK, last, REPRO).is_final


def test_an_error_while_handling_one_that_may_pass_is_retried():
    chained = [
        *TRACEBACK, "TimeoutError: timed out",
        "", "During handling of the above exception, another exception occurred:", "",
        *TRACEBACK, "AttributeError: 'NoneType' object has no attribute 'close'", REPRO,
    ]  # fmt: skip

    assert not failed(*chained).is_final


@pytest.mark.parametrize(
    ("printed", "cause"),
    [
        (["cat: data/x: No such file or directory"], "cat: data/x: No such file or directory"),
        (["/bin/bash: line 1: .env: No such file or directory"], "/bin/bash: line 1: .env: No such file or directory"),
        (["sh: 1: .: cannot open ./.env: No such file"], "sh: 1: .: cannot open ./.env: No such file"),
        (["python: can't open file '/w/x.py': [Errno 2]"], "python: can't open file '/w/x.py': [Errno 2]"),
        (["bash: line 1: foo: command not found"], "bash: line 1: foo: command not found"),
        (["sh: 1: foo: not found"], "sh: 1: foo: not found"),
        (["bash: line 1: X: unbound variable"], "bash: line 1: X: unbound variable"),
        (['  File "x.py", line 3', "    def f(:", "SyntaxError: invalid syntax"], "SyntaxError: invalid syntax"),
        (["ERROR: failed to reproduce 'x': missing data 'source': a.csv"], None),
        (["ERROR: failed to reproduce 'x': output 'out' does not exist"], None),
    ],
)  # fmt: skip
def test_what_shells_and_dvc_say_is_the_cause_too(printed, cause):
    code = 127 if "not found" in printed[-1] else 255
    failure = failed(*printed, *([REPRO] if cause else []), exit_code=code)

    assert failure.is_final
    assert failure.cause == (cause or printed[-1])


@pytest.mark.parametrize("code", [-9, -15, 137, 143])
def test_what_was_killed_is_retried(code):
    printed = [*TRACEBACK, "KeyError: 'x'"]

    assert not failed(*printed, REPRO.replace("exited with 1", f"exited with {code}")).is_final
    assert not failed(*printed, exit_code=code).is_final


@pytest.mark.parametrize(
    ("output", "is_final"),
    [
        ("ERROR: failed to run: python -m x, exited with 65", True),
        ("ERROR: failed to run: python -m x, exited with 77", True),
        ("ERROR: failed to run: python -m x, exited with 78", True),
        ("ERROR: failed to run: foo, exited with 127", True),
        ("ERROR: failed to run: ./x, exited with 126", True),
        ("ERROR: failed to run: python -m x, exited with 69", False),
        ("ERROR: failed to run: python -m x, exited with 75", False),
        ("ERROR: An error occurred (SignatureDoesNotMatch) when calling", True),
        ("", False),
    ],
)
def test_the_exit_code_decides_where_it_has_a_meaning(output, is_final):
    assert failed(output).is_final is is_final


def test_a_failure_ends_with_the_last_lines_of_the_output():
    error = CommandError(failed(*(f"line {number}" for number in range(100))))

    assert str(error).startswith("dvc repro x failed with exit code 255.")
    assert str(error).endswith("line 98\nline 99")
    assert "line 50" not in str(error)


def test_the_cause_is_named_where_what_was_not_yet_written_out_comes_after_it(tmp_path):
    """A program that collects its standard output writes it at its end, after the traceback on the other stream."""
    script = "import os, sys\nfor n in range(50): print('row', n)\nopen('gone.csv')"
    env = {**base_environment(), "PYTHONUNBUFFERED": ""}

    with pytest.raises(CommandError) as caught:
        CommandRunner().run(f'python -c "{script}"', env, tmp_path)

    assert "exit code 1: FileNotFoundError: [Errno 2] No such file or directory: 'gone.csv'" in str(caught.value)
    assert str(caught.value).endswith("row 49")
    assert caught.value.is_final


def test_the_remedy_stands_between_the_cause_and_the_output():
    error = CommandError(failed("cat: x: No such file or directory"), "add it to the deps")

    assert str(error) == (
        "dvc repro x failed with exit code 255: cat: x: No such file or directory. What to do: add it to the deps. "
        "Its last output was:\ncat: x: No such file or directory"
    )


def test_a_handled_error_that_was_logged_does_not_decide():
    logged = [*TRACEBACK, "KeyError: 'cached'", "fatal: HTTP 503"]

    assert not failed(*logged, exit_code=1).is_final


@pytest.mark.parametrize("start", ["", "RuntimeError: ", "no such file "])
def test_a_line_without_an_end_is_read_in_part(start):
    """To search the whole of it would take hours."""
    failure = failed(*TRACEBACK, start + "A" * 1_000_000)

    assert not failure.may_pass
    assert len(failure.cause or "") <= READ_CHARACTERS


def test_a_number_that_looks_like_an_answer_of_a_server_is_none():
    assert failed(*TRACEBACK, "IndexError: index 500 is out of bounds for axis 0 with size 500").is_final


@pytest.mark.parametrize(
    "printed",
    [
        [
            "\x1b[0;31mAttributeError\x1b[0m            Traceback (most recent call last)",
            "\x1b[0;32m<ipython-input-1>\x1b[0m in <module>",
            "\x1b[0;32m----> 1\x1b[0m x.y",
            "\x1b[0;31mAttributeError\x1b[0m: no attribute",
        ],
        [
            "╭───── Traceback (most recent call last) ─────╮",
            "│ /w/x.py:1 in <module>                       │",
            "╰─────────────────────────────────────────────╯",
            "AttributeError: no attribute",
        ],
    ],
    ids=["IPython", "rich"],
)
def test_the_tracebacks_of_notebooks_and_of_rich_are_read_too(printed):
    failure = failed(*printed, REPRO)

    assert failure.cause == "AttributeError: no attribute"
    assert failure.is_final


def test_of_a_command_that_python_ran_its_own_words_are_the_cause():
    said = "cat: data/x.csv: No such file or directory"
    last = "subprocess.CalledProcessError: Command 'cat data/x.csv' returned non-zero exit status 1."

    assert failed(said, *TRACEBACK, last, REPRO).cause == said
    assert not failed(*TRACEBACK, last, REPRO).is_final
