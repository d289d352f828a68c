"""The command line: flags from the recipes' settings, JSON on stdout, exit codes, a fast start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import typer

from firth import cli
from firth.errors import DataError, GateError, SettingsError

START_UP = 0.3  # seconds, the promise; the best of several starts, since other work may run beside the test


@dataclass(frozen=True)
class Settings:
    data: Annotated[Path, "What to read."]
    out: Annotated[Path, "-o", "Where to write."] = Path("out")
    rate: Annotated[float, "A number."] = 0.5
    tidy: Annotated[bool, "A switch."] = False


class Outcome:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def as_json(self) -> dict[str, Any]:
        return {name: str(value) for name, value in vars(self.settings).items()}


def invoke(*words: str, run: Any = Outcome) -> SimpleNamespace:
    """What a one-command program with these words does."""
    from typer.testing import CliRunner

    def show(result: Outcome, console: Any) -> None:
        console.print(f"read {result.settings.data}")

    app = typer.Typer()
    app.command()(cli.command(Settings, run, show))
    done = CliRunner().invoke(app, list(words))
    return SimpleNamespace(code=done.exit_code, out=done.stdout, err=done.stderr)


def firth(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firth.cli", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_result_is_drawn_for_people_and_printed_as_json_for_programs() -> None:
    assert invoke("corpus").out == "read corpus\n"
    found = json.loads(invoke("corpus", "-o", "x", "--rate", "2", "--tidy", "--json").out)
    assert found == {"data": "corpus", "out": "x", "rate": "2.0", "tidy": "True"}


def test_settings_come_from_a_toml_file_and_flags_win(tmp_path: Path) -> None:
    config = tmp_path / "firth.toml"
    config.write_text('out = "from-file"\nrate = 3\n')
    found = json.loads(invoke("corpus", "--config", str(config), "--rate", "4", "--json").out)
    assert (found["out"], found["rate"]) == ("from-file", "4.0")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("speed = 3", "unknown setting 'speed'; known are data, out, rate, tidy"),
        ('rate = "fast"', "rate = 'fast': expected float"),
        ("rate = true", "rate = True: expected float"),
        ("rate =", "not TOML"),
    ],
)
def test_a_faulty_config_is_told_by_file_setting_and_value(tmp_path: Path, text: str, complaint: str) -> None:
    config = tmp_path / "firth.toml"
    config.write_text(text)
    done = invoke("corpus", "--config", str(config))
    assert done.code == SettingsError.exit_code
    assert f"--config {config}: " in done.err
    assert complaint in done.err


@pytest.mark.parametrize(
    ("error", "code"), [(SettingsError("s"), 1), (GateError("g"), 3), (DataError("d"), 4), (KeyboardInterrupt(), 130)]
)
def test_each_kind_of_failure_has_its_exit_code_and_no_traceback(error: BaseException, code: int) -> None:
    def fail(settings: Settings) -> None:
        raise error

    done = invoke("corpus", run=fail)
    assert done.code == code
    assert "Traceback" not in done.err
    assert done.out == ""


def test_wrong_usage_exits_with_2() -> None:
    assert firth("doctor", "--nonsense").returncode == 2
    assert firth("no-such-command").returncode == 2


def test_help_lists_every_command_with_what_it_is_for() -> None:
    shown = firth("--help").stdout
    for name, summary in {**cli.COMMANDS, **cli.GROUPS}.items():
        assert name in shown
        assert summary[:30] in shown


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_each_of_its_flags(name: str) -> None:
    done = firth(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout
    assert "--config" in done.stdout


def test_the_command_line_starts_in_under_300_milliseconds() -> None:
    def once() -> float:
        start = time.perf_counter()
        firth("--help")
        return time.perf_counter() - start

    assert min(once() for _ in range(7)) < START_UP


def test_doctor_tells_the_level_the_threads_and_the_command_for_what_is_missing() -> None:
    health = json.loads(firth("doctor", "--json").stdout)
    assert health["level"] in health["levels"]
    assert health["threads"] >= 1
    assert all(part["remedy"].startswith("pip install 'firth[") for part in health["parts"])


def test_doctor_says_when_a_forced_level_is_not_the_one_in_use() -> None:
    health = json.loads(
        firth("doctor", "--json", FIRTH_LEVEL="neon" if os.uname().machine == "x86_64" else "v3").stdout
    )
    assert "fell back to" in health["fallback"]


def test_a_reader_that_stops_early_is_no_error() -> None:
    """firth ... | head: the pipe closes while we write."""
    done = subprocess.run(
        f"{sys.executable} -m firth.cli doctor --json | true",
        shell=True, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stderr == ""
