"""A stack's life: up, watched, restarted, down."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from lifecycle.core.errors import BusyError, UnavailableError
from lifecycle.core.settings import Settings
from lifecycle.supervise.daemon import control
from lifecycle.supervise.down import down
from lifecycle.supervise.processes import MARK, listens, sweep
from lifecycle.supervise.state import addresses, read_stack, run_folder
from lifecycle.supervise.status import as_text, status
from lifecycle.supervise.up import up
from tests.supervise.small_servers import busy_port, processes_of, script, until, web


def test_up_answers_and_down_leaves_nothing(settings, said):
    listening = up(settings, [web("one"), web("hidden", page=False)], detach=True, echo=said.append)

    assert list(listening) == ["one"]
    assert addresses(settings) == listening
    assert httpx.get(listening["one"]).is_success
    now = status(settings)
    assert now.ok
    assert [service.restarts for service in now.services] == [0, 0]
    assert all(service.memory_mb > 1 for service in now.services)
    assert listening["one"] in as_text(now)

    assert down(settings) == 3
    assert processes_of(str(settings.state)) == []
    assert addresses(settings) == {}
    assert not status(settings).ok
    assert down(settings) == 0


def test_up_twice_starts_only_what_was_given_up(settings, said):
    first = up(settings, [web("one"), web("two")], detach=True, echo=said.append)
    before = status(settings).services[0].pid
    with control(read_stack(settings)) as supervisor:
        supervisor.stopProcess("two")
    assert [service.state for service in status(settings).services] == ["ready", "down"]

    again = up(settings, [web("one"), web("two")], detach=True, echo=said.append)
    assert again == first
    assert status(settings).ok
    assert status(settings).services[0].pid == before
    assert "starting two again" in said
    assert "already up:" in said


def test_a_busy_port_is_left_alone_and_others_are_told_the_new_one(settings, said):
    code = "import os, sys; assert os.environ['FRIEND'].startswith('http://127.0.0.1:'); " + _SERVE
    friend = script("asking", code, env={"FRIEND": "{one}/api"})
    with busy_port() as other:
        usual = other.getsockname()[1]
        listening = up(settings, [web("one", port=usual), friend], detach=True, echo=said.append)
        assert listening["one"] != f"http://127.0.0.1:{usual}"
        assert any(f"port {usual} is busy" in line for line in said)


def test_what_dies_is_started_again(settings, said):
    up(settings, [web("one")], detach=True, echo=said.append)
    before = status(settings).services[0]
    os.kill(before.pid, signal.SIGKILL)

    until(lambda: status(settings).ok and status(settings).services[0].pid != before.pid)
    after = status(settings).services[0]
    assert after.restarts == 1
    assert after.address == before.address


def test_a_service_that_keeps_dying_is_told_with_its_last_words(settings, said):
    broken = script("broken", "raise SystemExit('no such database')")
    with pytest.raises(UnavailableError, match="broken keeps dying") as caught:
        up(settings, [web("one"), broken], detach=True, echo=said.append)

    assert "no such database" in caught.value.message
    assert "broken.log" in caught.value.hint
    assert processes_of(str(settings.state)) == []


def test_a_service_that_never_answers_is_not_waited_for_for_ever(settings, said):
    deaf = script("deaf", "import time; time.sleep(60)")
    with pytest.raises(UnavailableError, match="deaf is not ready after 1 s"):
        up(settings, [deaf], detach=True, echo=said.append, timeout=1)
    assert processes_of(str(settings.state)) == []


def test_only_a_listener_of_its_own_makes_a_service_ready():
    with (
        busy_port() as ours,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other,
    ):
        port = ours.getsockname()[1]
        assert listens(os.getpid(), port)
        assert not listens(other.pid, port)


def test_children_in_sessions_of_their_own_go_too(settings, said):
    code = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.signal(signal.SIGTERM, "
        "signal.SIG_IGN); print(1, flush=True); signal.pause()'], start_new_session=True); " + _SERVE
    )
    up(settings, [script("parent", code)], detach=True, echo=said.append)
    until(lambda: len(processes_of(str(settings.state))) == 3)

    down(settings)
    assert processes_of(str(settings.state)) == []


def test_who_has_ended_is_not_waited_for_until_its_parent_collects_it(tmp_path):
    code = (
        "import os, subprocess, sys; "
        "child = subprocess.Popen(['sleep', '600'], env={**os.environ, sys.argv[1]: sys.argv[2]}); "
        "print(child.pid, flush=True); input()"
    )
    command = [sys.executable, "-c", code, MARK, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as careless:
        orphan = psutil.Process(int(careless.stdout.readline()))
        while MARK not in orphan.environ():  # for a moment after it has started, the kernel shows none
            time.sleep(0.001)
        begin = time.monotonic()
        assert sweep(tmp_path, keeper=0, grace=60) == 1
        assert time.monotonic() - begin < 30
        assert orphan.status() == psutil.STATUS_ZOMBIE


def test_a_crash_of_the_keeper_is_cleaned_up(settings, said):
    up(settings, [web("one")], detach=True, echo=said.append)
    keeper = psutil.Process(read_stack(settings).pid)
    orphan = status(settings).services[0].pid
    keeper.kill()
    keeper.wait(10)

    assert addresses(settings) == {}
    assert [service.state for service in status(settings).services] == ["down"]
    assert psutil.pid_exists(orphan)

    up(settings, [web("one")], detach=True, echo=said.append)
    assert "ended what a crash had left running" in said
    assert status(settings).ok
    assert orphan not in [process.pid for process in processes_of(str(settings.state))]


def test_a_pid_that_was_given_to_another_process_is_not_the_keeper(settings, said):
    up(settings, [web("one")], detach=True, echo=said.append)
    stack = read_stack(settings)
    reused = stack.model_copy(update={"pid": os.getpid()})
    assert stack.alive
    assert not reused.alive


def test_any_project_path_will_do(tmp_path, said):
    project = tmp_path / "a b%(x)s ;'c" / ("deep/" + "er/" * 40)
    project.mkdir(parents=True)
    settings = Settings(project=project)
    try:
        up(settings, [web("one")], detach=True, echo=said.append)
        stack = read_stack(settings)
        assert len(os.fsencode(stack.socket)) < 100
        assert status(settings).ok
    finally:
        down(settings)
    assert not Path(stack.socket).exists()
    assert not run_folder(settings).exists()
    assert processes_of(str(settings.state)) == []


def test_one_up_at_a_time(settings, said):
    settings.state.mkdir(parents=True)
    with (settings.state / "up.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="is starting"):
            up(settings, [web("one")], detach=True, echo=said.append)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_in_the_foreground_a_signal_takes_everything_down(settings, number):
    code = (
        "import sys; from pathlib import Path; from tests.supervise.small_servers import web; "
        "from lifecycle.core.settings import Settings; from lifecycle.supervise.up import up; "
        "up(Settings(project=Path(sys.argv[1])), [web('one')], detach=False, "
        "echo=lambda line: print(line, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(settings.project)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    ) as foreground:
        for line in foreground.stdout:
            if line.startswith("Ctrl-C"):
                break
        assert status(settings).ok
        foreground.send_signal(number)
        assert foreground.stdout.read().strip() == "taking everything down"
        assert foreground.wait(20) == 0
    assert processes_of(str(settings.state)) == []


_SERVE = (
    "import http.server as h, sys; "
    "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)
