"""The flows of the office on a real Prefect server: the update is queued once, and no name gets in."""

from __future__ import annotations

import logging
import tempfile

import pytest

from tests.office.conftest import MARKER

pytestmark = pytest.mark.slow


def test_the_flows_erase_rotate_and_queue_one_update(clinic, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    # The harness clears its folder when Python ends: after ours is gone.
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr(tempfile, "tempdir", None)
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.testing.utilities import prefect_test_harness
    from prefect.utilities.callables import parameter_schema

    from flows.erase_subject import erase_subject
    from flows.rotate_keys import rotate_keys
    from flows.update import update

    refs = clinic.admit(3)
    path = clinic.root / "tmp" / "2026-01.parquet"
    clinic.seal(path, refs)
    clinic.deploy(clinic.snapshot([path]), "1", "first-deployment")
    kept = logging.getLogger("lifecycle").level
    with prefect_test_harness(server_startup_timeout=120), get_client(sync_client=True) as client:
        alone = erase_subject("clinic", refs[0].hex(), return_state=True).result()
        assert alone.update.status == "by hand"  # nobody runs updates

        deployment = {"name": "clinic", "parameters": {"system": "clinic"}}
        updating = client.create_deployment(
            flow_id=client.create_flow(update),
            **deployment,
            parameter_openapi_schema=parameter_schema(update).model_dump(),
        )
        for _ in range(2):  # as after a crash
            receipt = erase_subject("clinic", refs[1].hex(), return_state=True).result()
        assert receipt.update.status == "queued"
        queued = [run for run in client.read_flow_runs() if "erasure" in run.tags]
        assert [run.name for run in queued] == [f"erasure-{refs[1].hex()}"]
        assert queued[0].parameters == {"system": "clinic", "trigger": "erasure"}
        with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
            client.create_flow_run_from_deployment(
                updating, parameters={"system": "clinic", "trigger": MARKER}
            )

        erasing = client.create_deployment(
            flow_id=client.create_flow(erase_subject),
            **deployment,
            parameter_openapi_schema=parameter_schema(erase_subject).model_dump(),
        )
        with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
            client.create_flow_run_from_deployment(erasing, parameters={"system": "clinic", "ref": MARKER})
        assert MARKER not in str([run.parameters for run in client.read_flow_runs()])

        done = rotate_keys("clinic", return_state=True)
        assert done.message == "version 2 of the key encryption key, 1 subject keys wrapped anew"
    logging.getLogger("lifecycle").setLevel(kept)
