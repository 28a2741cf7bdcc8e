"""The command that hears of a study's end: it gets one line, and its failure fails nothing."""

import sys

import pytest

from vsrbench.orchestration.notification import failure_text, notify


def test_the_command_gets_one_argument_and_no_shell(tmp_path):
    script = tmp_path / "a script.py"
    script.write_text("import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(repr(sys.argv[2:]))")
    notify(f"{sys.executable} '{script}' '{tmp_path}/said'", "study demo finished; $(touch x) && b")
    assert (tmp_path / "said").read_text() == "['study demo finished; $(touch x) && b']"


@pytest.mark.parametrize(
    ("command", "said"),
    [("false", "exit status 1"), ("no-such-command", "No such file"), ("echo 'half", "No closing quotation")],
)
def test_a_command_that_fails_is_said(capsys, command, said):
    notify(command, "text")
    printed = capsys.readouterr().out
    assert printed.startswith(f"notify: {command}: ") and said in printed


def test_nothing_without_a_command(capsys):
    notify(None, "text")
    notify("", "text")
    assert capsys.readouterr().out == ""


def test_failures_are_counted_by_rule():
    failures = [("train", ["a"]), ("evaluate", []), ("train", ["b"])]
    assert failure_text("demo", failures) == "study demo failed: train (2), evaluate (1)"
    assert failure_text("demo", []) == "study demo failed"
