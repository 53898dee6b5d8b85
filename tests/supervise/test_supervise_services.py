"""What is started by default, and how it is written down."""

from __future__ import annotations

import configparser
import shlex

import pytest
from pydantic import ValidationError

from lifecycle.core.settings import Settings
from lifecycle.supervise.daemon import configuration
from lifecycle.supervise.services import Service, default_services
from lifecycle.supervise.state import Stack, read_stack, run_folder, write_stack


def test_the_default_servers_listen_on_loopback_at_their_usual_ports(tmp_path):
    services = default_services(Settings(project=tmp_path))
    assert {it.name: it.port for it in services} == {
        "prefect": 4200,
        "mlflow": 5000,
        "worker": 0,
        "serving": 8000,
    }
    ports = {it.name: 10_000 + place for place, it in enumerate(services)}
    known = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    for service in services:
        filled = service.filled(ports[service.name], known)
        assert "{" not in " ".join([*filled.command, *filled.env.values()])
        assert "0.0.0.0" not in " ".join(filled.command)
    assert services[2].filled(1, known).env["PREFECT_API_URL"] == f"{known['prefect']}/api"
    assert services[3].filled(1, known).env["LIFECYCLE_MLFLOW_PAGES"] == known["mlflow"]


def test_a_tracking_server_elsewhere_is_not_started_here(tmp_path):
    services = default_services(Settings(project=tmp_path, mlflow_uri="https://mlflow.example"))
    assert [it.name for it in services] == ["prefect", "worker", "serving"]
    assert services[2].env == {}  # whoever runs it says where its pages are, if anybody does


def test_no_password_shows_in_a_command_line(tmp_path):
    services = default_services(Settings(project=tmp_path, mlflow_uri="postgresql://me:s3cret@db/mlflow"))
    assert not any("s3cret" in " ".join(it.command) for it in services)
    assert "s3cret" not in configuration(services)


def test_what_is_written_down_is_for_the_owner_alone(tmp_path):
    settings = Settings(project=tmp_path)
    run_folder(settings).mkdir(parents=True)
    stack = Stack(host="127.0.0.1", socket="s", services=default_services(settings))
    write_stack(settings, stack)
    assert read_stack(settings) == stack
    assert (run_folder(settings) / "services.json").stat().st_mode & 0o777 == 0o600


def test_a_record_cut_short_names_nobody(tmp_path):
    settings = Settings(project=tmp_path)
    run_folder(settings).mkdir(parents=True)
    (run_folder(settings) / "services.json").write_text('{"host": "127.')
    assert read_stack(settings) is None


def test_the_configuration_holds_no_path_and_no_command():
    text = configuration(
        [Service(name="web", command=("/odd path/%s;", "--x")), Service(name="two", command=("y",))]
    )
    parsed = configparser.RawConfigParser()
    parsed.read_string(text)
    assert shlex.split(parsed["program:web"]["command"])[-1] == "web"
    assert "odd path" not in text
    assert parsed["program:two"]["priority"] == "2"


@pytest.mark.parametrize("name", ["Web", "a b", "", "x]"])
def test_a_name_is_a_plain_word(name):
    with pytest.raises(ValidationError):
        Service(name=name, command=("x",))
