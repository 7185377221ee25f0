"""The command line as a process: what it loads, what it writes where, how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = {
    "polars",
    "pyarrow",
    "duckdb",
    "deltalake",
    "numpy",
    "redis",
    "fastapi",
    "sqlalchemy",
    "rich",
    "pandas",
    "orjson",
    "msgspec",
}


def featurestore(*arguments, **options):
    command = [sys.executable, "-m", "featurestore", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["ingest", "--help"], ["completion", "bash"]])
def test_help_loads_no_heavy_library(arguments):
    code = f"import sys; sys.argv = ['featurestore', *{arguments!r}]\nfrom featurestore.api.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
    code += "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stderr.split()) & HEAVY == set()


def test_every_command_has_help():
    from featurestore.api.cli.root import COMMANDS
    from featurestore.api.cli.root import featurestore as root
    from tests.cli.conftest import run

    for name in COMMANDS:
        shown = run(name, "--help")
        assert shown.code == 0
        assert "--json" in shown.out or "Commands:" in shown.out, name
        assert root.get_command(None, name).name == name


def test_into_a_pipe_goes_plain_text_and_the_exit_code_tells(made):
    ran = featurestore("status", "--repo", made)
    assert ran.returncode == 0, ran.stderr
    assert "\x1b" not in ran.stdout
    assert "readings" in ran.stdout
    missing = featurestore("validate", "absent", "--repo", made)
    assert missing.returncode == 4
    assert missing.stdout == ""
    assert "Traceback" not in missing.stderr


def test_the_repository_may_be_named_by_the_environment_or_be_the_current_folder(made):
    assert featurestore("plan", env={**os.environ, "FEATURESTORE_REPO": str(made)}).returncode == 0
    assert featurestore("plan", cwd=made, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode == 0


def test_with_debug_the_traceback_is_shown(tmp_path):
    ran = featurestore("plan", "--repo", tmp_path, env={**os.environ, "FEATURESTORE_DEBUG": "1"})
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr


def test_a_reader_that_goes_away_ends_it_silently(made):
    command = (
        f"{sys.executable} -m featurestore sql 'select range as x from range(100000)' --limit 100000 --repo {made} | head -1"
    )
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == ("x\n", "")


def test_completion_offers_commands_for_the_shell():
    environment = {**os.environ, "_FEATURESTORE_COMPLETE": "bash_complete", "COMP_WORDS": "featurestore mat", "COMP_CWORD": "1"}
    assert featurestore(env=environment).stdout.strip() == "plain,materialize"


def test_an_interrupt_ends_with_its_own_exit_code(made):
    command = [sys.executable, "-m", "featurestore", "sql", "-", "--repo", str(made)]

    def heed_interrupts():  # a runner of tests may have been started with them ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    ) as process:
        _wait_for_read(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read().strip() == "Error: interrupted"


def _wait_for_read(pid):
    for _ in range(1200):
        if "pipe_read" in Path(f"/proc/{pid}/wchan").read_text():
            return
        time.sleep(0.05)  # the kernel tells no one when a process begins to wait
    raise AssertionError("it never waited for its input")
