"""State of the embedded parts: secrets, ports, who holds the lock."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from include.errors import ConfigError, PipelineError, ServiceError
from include.services.embedded.state import HOST, State, choose_port, free_ports

ROOT = Path(__file__).parents[2]


def test_secrets_are_made_once_and_are_for_their_owner_alone(tmp_path):
    state = State(tmp_path)
    first = state.secrets()

    assert State(tmp_path).secrets() == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0
    assert all(len(value) >= 16 for value in first.values())
    assert state.secrets() != State(tmp_path / "other").secrets()


def test_the_password_file_of_airflow_is_private(tmp_path):
    file = State(tmp_path).passwords_file()

    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_text()) == {"admin": State(tmp_path).secrets()["airflow_admin_password"]}


def test_one_holder_at_a_time_and_others_can_see_it(tmp_path):
    state = State(tmp_path)
    assert state.running() is None
    holder = state.lock("run")

    assert state.running() == {"mode": "run", "pid": os.getpid(), "addresses": {}}
    with pytest.raises(PipelineError, match="another process is using"):
        state.lock("serve")
    holder.publish({"store": "here"})
    assert state.running()["addresses"] == {"store": "here"}
    holder.close()
    assert state.running() is None


def test_runs_that_are_going_can_be_seen_several_at_a_time_also_beside_the_lock(tmp_path):
    state = State(tmp_path)
    holder = state.lock("serve")
    with state.run_is_going(), state.run_is_going():
        assert state.a_run_is_going()

    assert not state.a_run_is_going()
    holder.close()


def test_what_services_leave_elsewhere_is_removed_but_not_while_another_process_runs_them(tmp_path):
    state, socket_file, folder = State(tmp_path / "state"), tmp_path / "socket", tmp_path / "folder"
    socket_file.touch()
    folder.mkdir()
    code = (
        "import sys; from pathlib import Path; from include.services.embedded.state import State\n"
        f"state = State(Path({str(state.root)!r})); lock = state.lock('serve'); print('locked', flush=True)\n"
        f"state.will_leave(Path({str(socket_file)!r})); state.will_leave(Path({str(folder)!r}))\n"
        "print('noted', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        other.stdout.readline(), other.stdout.readline()
        state.remove_left()
        assert socket_file.exists()
        other.kill()

    state.remove_left()
    assert not socket_file.exists()
    assert not folder.exists()
    state.remove_left()


def test_a_lock_ends_with_its_process(tmp_path):
    code = (
        "import os; from pathlib import Path; from include.services.embedded.state import State\n"
        f"holder = State(Path({str(tmp_path)!r})).lock('run'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))))  # noqa: PTH120

    assert State(tmp_path).running() is None


def test_a_port_in_use_is_named_with_the_variable_to_set(monkeypatch):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("STORE_PORT", str(port))
        with pytest.raises(
            ConfigError, match=rf"port {port} on 127\.0\.0\.1 cannot be used \(Address already in use\)\. .*STORE_PORT="
        ):
            choose_port("STORE_PORT")
        monkeypatch.delenv("STORE_PORT")
        with pytest.raises(ConfigError, match="cannot be used"):
            choose_port("STORE_PORT", port)


def test_a_disk_that_is_too_full_is_named_before_anything_is_started(tmp_path, monkeypatch):
    monkeypatch.setattr("include.services.embedded.state.SPACE", 10**9)

    with pytest.raises(PipelineError, match=rf"only \d+ MB are free on the disk of {tmp_path}.*Free some space"):
        State(tmp_path).lock("run")
    assert State(tmp_path).running() is None


@pytest.mark.parametrize("value", ["x", "70000", "-1"])
def test_what_is_no_port_number_is_refused(monkeypatch, value):
    monkeypatch.setenv("STORE_PORT", value)

    with pytest.raises(ConfigError, match="STORE_PORT="):
        choose_port("STORE_PORT")


def test_free_ports_are_all_different_and_none_that_a_connection_may_get():
    ports = free_ports(20)

    assert len(set(ports)) == 20
    assert max(ports) < 32768  # net.ipv4.ip_local_port_range of Linux begins there


def test_a_port_that_is_in_use_is_not_taken(monkeypatch):
    with socket.socket() as used:
        used.bind((HOST, 0))
        port = used.getsockname()[1]
        monkeypatch.setattr("include.services.embedded.state.PORTS", range(port, port + 1))

        with pytest.raises(ServiceError, match=f"of the ports {port} to {port} on {HOST}, 1 cannot be had"):
            free_ports(1)
