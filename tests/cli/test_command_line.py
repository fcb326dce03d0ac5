"""What the `amazin` command promises as a whole, whatever its commands do."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from amazin.cli.common import FailureError, MistakeError, examples
from amazin.cli.completion import SHELLS
from amazin.cli.main import COMMANDS, EXIT_CODES, Commands, main, text_of
from amazin.errors import HTTPError, NodeError, SettingsError
from amazin.release import PACKAGE, release
from tests.support import command_process
from tests.support.paths import PROJECT
from tests.support.waiting import PATIENCE_SECONDS

MOST_SUMMARY = 62
"""Characters: with the longest name it fits on a line of a terminal."""
NOT_NEEDED_FOR_HELP = ("rich", "yaml", "urllib3", "minio", "docker", "gevent", "http")
any_command = pytest.mark.parametrize("name", COMMANDS)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="amazin")


# Commands remember how their help is asked for when that is first needed.
AMAZIN = click.Context(main, info_name="amazin", **main.context_settings)


def load(name: str) -> click.Command:
    command = main.get_command(AMAZIN, name)
    assert command is not None
    return command


def help_of(name: str) -> str:
    result = run(name, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def ended(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `amazin` as a process, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "amazin.cli", *arguments],
        cwd=PROJECT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        **options,
    )


# Help


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_the_help_has_every_command_in_its_section(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    for name, entry in COMMANDS.items():
        section = result.stdout.partition(f"\n{entry.section}:\n")[2].partition("\n\n")
        rows = dict(row.strip().split(maxsplit=1) for row in section[0].splitlines())
        assert rows[name] == entry.summary


def test_the_commands_of_a_section_stand_together() -> None:
    sections = [
        title for title, _ in groupby(entry.section for entry in COMMANDS.values())
    ]
    assert len(sections) == len(set(sections))


def test_no_line_of_the_help_is_wider_than_a_terminal() -> None:
    assert max(map(len, run("--help").stdout.splitlines())) <= 80
    assert max(len(entry.summary) for entry in COMMANDS.values()) <= MOST_SUMMARY


@any_command
def test_the_summary_is_the_first_sentence_of_the_commands_help(name: str) -> None:
    short = load(name).get_short_help_str(limit=200)
    assert COMMANDS[name].summary == short.removesuffix(".")


@any_command
def test_a_command_is_called_by_the_name_that_its_help_shows(name: str) -> None:
    assert help_of(name).startswith(f"Usage: amazin {name}")


@any_command
def test_the_help_of_a_command_ends_with_an_example(name: str) -> None:
    """Made by `@click.command(epilog=examples("amazin NAME ..."))`."""
    last = help_of(name).rstrip().split("\n\n")[-1].splitlines()
    assert last[0].strip() in ("Example:", "Examples:")
    assert all(f"amazin {name}" in line for line in last[1:])
    assert last[1:]


@any_command
def test_the_help_of_a_command_is_shown_either_way(name: str) -> None:
    assert run("help", name).stdout == help_of(name) == run(name, "-h").stdout


@pytest.mark.parametrize("words", [("token", "new"), ("access", "check")])
def test_help_takes_the_words_of_nested_commands(words: tuple[str, ...]) -> None:
    assert run("help", *words).stdout == run(*words, "--help").stdout
    assert run("help", *words).stdout.startswith(f"Usage: amazin {' '.join(words)} ")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("token", "none"), "No such command 'none'"),
        (("get", "new"), "'amazin get' has no command 'new'"),
        (("--", "--none"), "No such option"),
    ],
)
def test_help_of_what_is_no_command(words: tuple[str, ...], problem: str) -> None:
    result = run("help", *words)
    assert result.exit_code == 2
    assert problem in result.stderr


def test_examples_keep_their_lines() -> None:
    command = click.Command("x", epilog=examples("x " + "y" * 90, "x  z"))
    shown = command.get_help(click.Context(command))
    assert shown.endswith("  Examples:\n    x " + "y" * 90 + "\n    x  z")


def test_what_the_exit_codes_mean_is_in_the_help() -> None:
    shown = run("--help").stdout
    assert [code for code, _ in EXIT_CODES] == ["0", "1", "2", "130"]
    assert all(f"  {code:3}  {meaning}\n" in shown for code, meaning in EXIT_CODES)


def modules_after(*arguments: str) -> list[str]:
    """Return the modules that are loaded at the end of a command."""
    code = (
        "import sys\nfrom amazin.cli import main as cli\n"
        f"try:\n    cli.main.main({[*arguments]}, prog_name='amazin')\n"
        "except SystemExit:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    return done.stderr.decode().split()


def test_the_help_imports_no_command_and_nothing_large() -> None:
    modules = modules_after("--help")
    assert {name for name in modules if name.startswith("amazin.cli.")} == {
        "amazin.cli.common",
        "amazin.cli.main",
    }
    assert set(modules).isdisjoint(NOT_NEEDED_FOR_HELP)


@pytest.mark.parametrize(
    ("arguments", "large"),
    [
        (["version"], NOT_NEEDED_FOR_HELP),
        (["cp", "--help"], ("docker", "minio", "gevent", "yaml", "requests")),
        (["status", "--help"], ("docker", "gevent", "requests")),
    ],
)
def test_a_command_imports_nothing_large_that_it_does_not_need(
    arguments: list[str], large: tuple[str, ...]
) -> None:
    assert set(modules_after(*arguments)).isdisjoint(large)


def test_without_a_command_the_help_is_on_standard_error() -> None:
    result = run()
    assert result.exit_code == 2
    assert result.stderr == run("--help").stdout


# Mistakes


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("stats", " Did you mean 'status'?"),
        ("copy", " Did you mean 'cp'?"),
        ("mkdir", " Did you mean 'mb'?"),
        ("", ""),
        ("sing", ""),
    ],
)
@pytest.mark.parametrize("before", [[], ["help"]])
def test_an_unknown_command_is_answered_with_the_usage(
    name: str, guess: str | None, before: list[str]
) -> None:
    result = run(*before, name)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second, third = result.stderr.splitlines()
    assert first.startswith(f"No such command '{name}'.")
    assert guess is None or first == f"No such command '{name}'.{guess}"
    assert second == "Usage: amazin [OPTIONS] COMMAND [ARGS]..."
    assert third == "'amazin --help' shows all commands."


@any_command
def test_an_unknown_option_is_a_sentence(name: str) -> None:
    result = run(name, "--no-such-option")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("No such option")
    assert result.stderr.count("\n") == 1


def test_an_option_that_amazin_itself_does_not_have() -> None:
    result = run("--fast", "status")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such option" in result.stderr
    assert result.stderr.startswith("Usage: amazin")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("blob-server", ["-store", "/a/b", "-port", "4001"], ("/a/b", 4001)),
        ("blob-server", ["-store=/a/b", "-port=4001"], ("/a/b", 4001)),
        ("blob-server", ["--store", "/a/b", "--port=4001"], ("/a/b", 4001)),
        ("api-server", ["-blob-server=http://a:1,http://b:2"], "http://a:1,http://b:2"),
        ("api-server", ["-blob-server", "http://a:1", "-verbose"], "http://a:1"),
        ("replicate", ["-verbose", "-blob-server", "http://a:1"], "http://a:1"),
        ("replicate", ["-v", "--blob-server=http://a:1"], "http://a:1"),
    ],
)
def test_options_are_taken_as_sos_does(
    name: str, arguments: list[str], expected: object
) -> None:
    context = load(name).make_context(name, arguments, AMAZIN)
    given = [str(value) for value in context.params.values()]
    wanted = expected if isinstance(expected, tuple) else (expected,)
    assert {str(value) for value in wanted} <= set(given)


class Failing(Commands):
    """Its `status` raises; and what it raised is shown as that of any command."""

    error: BaseException

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        def fail() -> None:
            raise self.error

        return click.Command(cmd_name, callback=fail)


def end_with(error: BaseException) -> Result:
    group = Failing("amazin")
    group.error = error
    return CliRunner().invoke(group, ["status"], prog_name="amazin")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (click.UsageError("No"), 2, "No\n"),
        (click.BadParameter("no"), 2, "Invalid value: no\n"),
        (SettingsError("PORT: 'x'"), 2, "Settings: PORT: 'x'\n"),
        (HTTPError(422, "InvalidId", "No id"), 2, "No id\n"),
        (NodeError("away"), 1, "away\n"),
        (MistakeError("Not so"), 2, "Not so\n"),
        (FailureError("Not now"), 1, "Not now\n"),
        (FileNotFoundError(2, "No such file", "a/b"), 1, "a/b: No such file\n"),
        (PermissionError(13, "Permission denied"), 1, "Permission denied\n"),
        (TimeoutError(), 1, "TimeoutError\n"),
        (OSError("odd"), 1, "odd\n"),
        (KeyboardInterrupt(), 130, "Stopped\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    ],
)
def test_what_is_no_bug_of_ours_is_a_sentence_and_an_exit_code(
    error: BaseException, code: int, says: str
) -> None:
    result = end_with(error)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", says)


def test_a_bug_of_ours_is_not_hidden() -> None:
    assert isinstance(end_with(KeyError("x")).exception, KeyError)


def test_what_the_system_refused_is_named() -> None:
    assert text_of(OSError(28, "No space left", "/x/y")) == "/x/y: No space left"
    assert text_of(OSError(28, "No space left", 7)) == "7: No space left"


PRINTING = [["config"], ["help"], ["--help"], ["--version"], ["completion", "zsh"]]


@pytest.mark.parametrize("arguments", PRINTING)
def test_a_full_disk_below_standard_output_is_a_sentence(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = ended(*arguments, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "No space left on device\n")


@pytest.mark.parametrize("arguments", PRINTING)
def test_nobody_who_reads_on_is_no_stack_trace(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = ended(*arguments, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_is_one_word_and_130() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_SECONDS)
        node = f"http://k:s@127.0.0.1:{silent.getsockname()[1]}"
        environ = {"PATH": os.environ["PATH"], "DISCOVERY": "static"}
        environ |= {"NODES": f"a={node}", "NODE_ANSWER_TIMEOUT": "60"}
        with command_process.started(
            ["locate", "abc"], environ, stderr=subprocess.PIPE
        ) as asking:
            with silent.accept()[0]:
                asking.send_signal(signal.SIGINT)
                assert asking.wait(PATIENCE_SECONDS) == 130
            assert asking.stderr
            assert asking.stderr.read() == b"Stopped\n"


DOCKERS = (
    "DISCOVERY is not set: the nodes are Docker's, not the folders in data "
    "(DISCOVERY=folders)"
)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, [DOCKERS]),
        ({"DISCOVERY": "docker"}, []),
        ({"DATA_DIR": "elsewhere"}, []),
    ],
)
def test_who_serves_folders_and_looks_at_docker_is_told(
    tmp_path: Path, environ: dict[str, str], says: list[str]
) -> None:
    (tmp_path / "data" / "node-1").mkdir(parents=True)
    settings = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock", **environ}
    done = command_process.run("locate", "abc", folder=tmp_path, settings=settings)
    assert done.returncode == 1
    notes = [line for line in done.stderr.splitlines() if "DISCOVERY" in line]
    assert notes == says


# Version


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_is_that_of_setup_cfg(arguments: list[str]) -> None:
    setup = (PROJECT / "setup.cfg").read_text()
    line = next(line for line in setup.splitlines() if line.startswith("version = "))
    result = run(*arguments)
    assert result.exit_code == 0
    assert result.stdout == f"amazin {line.removeprefix('version = ')}\n"
    assert json.loads(run("version", "--json").stdout)["version"] == release()


@pytest.mark.parametrize("option", ["-v", "--verbose", "-verbose"])
def test_the_version_tells_more_if_asked(option: str) -> None:
    lines = run("version", option).stdout.splitlines()
    assert lines[0] == f"amazin {release()}"
    assert lines[1].startswith(f"Python {sys.version.split()[0]}")


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        (f"[metadata]\nname = {PACKAGE}\nversion = 7.8.9\n", "7.8.9"),
        (f"[metadata]\nname = {PACKAGE}\n", "unknown"),
    ],
)
def test_the_version_of_a_folder(tmp_path: Path, setup: str, expected: str) -> None:
    (tmp_path / "setup.cfg").write_text(setup)
    assert release(tmp_path) == expected


@pytest.mark.parametrize(
    "setup", ["[metadata]\nname = x\nversion = 7.8.9", "\xff", "{"]
)
def test_a_foreign_setup_cfg_says_nothing_of_ours(tmp_path: Path, setup: str) -> None:
    nowhere = release(tmp_path)
    (tmp_path / "setup.cfg").write_bytes(setup.encode("latin-1"))
    assert release(tmp_path) == nowhere != "7.8.9"


# Completion


def script(shell: str) -> str:
    result = run("completion", shell)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which there is an `amazin`."""
    wrapper = tmp_path / "bin" / "amazin"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m amazin.cli "$@"\n')
    wrapper.chmod(0o755)
    return f"{wrapper.parent}:{os.environ['PATH']}"


def bash(path: str, line: str) -> list[str]:
    """Return what bash offers when the tab key is hit at the end of a line."""
    words = line.split(" ")
    typed = " ".join(f"'{word}'" for word in words)
    code = f"""
        eval "$(amazin completion bash)" || exit
        complete -p amazin | grep -q _amazin_completion || exit
        COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1}
        _amazin_completion amazin
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", code],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("amazin help token n", ["new"]),
        ("amazin re", ["repair", "replicate"]),
        ("amazin sta", ["stat", "status"]),
        ("amazin m", ["mb", "mv"]),
        ("amazin mv --in", ["--include"]),
        ("amazin rb --f", ["--force"]),
        ("amazin completion ", list(SHELLS)),
        ("amazin status --c", ["--count"]),
        ("amazin help blob", ["blob-server"]),
        ("amazin help completion", ["completion"]),
    ],
)
def test_bash_completes(path: str, line: str, offered: list[str]) -> None:
    assert bash(path, line) == offered


def complete(shell: str, environ: Mapping[str, str]) -> str:
    runner = CliRunner(env={"_AMAZIN_COMPLETE": f"{shell}_complete", **environ})
    return runner.invoke(main, prog_name="amazin").stdout


@pytest.mark.parametrize(
    "line", ["put READ", "put a READ", "get k READ", "cp READ", "cp a READ", "mv READ"]
)
def test_files_are_completed_by_the_shell_itself(line: str) -> None:
    words = {"COMP_WORDS": f"amazin {line}", "COMP_CWORD": str(line.count(" ") + 1)}
    assert complete("bash", words).split() == ["file,READ"]


@pytest.mark.parametrize(("shell", "last"), [("zsh", "1"), ("fish", "fo")])
def test_other_shells_are_told_what_a_command_does(shell: str, last: str) -> None:
    said = complete(shell, {"COMP_WORDS": "amazin fo", "COMP_CWORD": last})
    assert "forget" in said
    assert COMMANDS["forget"].summary in said
    assert said.count("plain") == 1
    assert f"_AMAZIN_COMPLETE={shell}_complete" in script(shell)


@pytest.mark.parametrize("arguments", [[], ["tcsh"]])
def test_only_shells_that_are_known_are_completed(arguments: list[str]) -> None:
    result = run("completion", *arguments)
    assert result.exit_code == 2
    assert "bash" in result.stderr


def test_flags_may_have_a_value_as_in_go() -> None:
    servers = ("-blob-server", "http://a:1")
    with_flag = run("api-server", *servers, "-dump=true")
    assert with_flag.exit_code == 0
    assert "http://a:1" in with_flag.stdout
    assert run("api-server", "-dump=maybe").exit_code == 2
    assert run("version", "--verbose=false").stdout == run("version").stdout
