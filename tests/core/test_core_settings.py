"""Settings that follow from what lies in the project."""

from __future__ import annotations

import pytest

from lifecycle.core.settings import Settings, environment_of


@pytest.mark.parametrize(
    ("policy", "wipes"),
    [
        (None, False),
        ("format: 1\nactors: {}\nadministration: {}\n", False),
        ("format: 1\nactors: {flow: {care: [clinical]}}\n", True),
        ("actors: [", True),  # not readable: somebody may be meant
        ("- no policy", True),
    ],
)
def test_memory_is_wiped_where_somebody_may_open_records(tmp_path, policy, wipes):
    if policy is not None:
        (tmp_path / "access.yaml").write_text(policy)
    assert Settings(project=tmp_path).wipes is wipes
    assert Settings(project=tmp_path, wipe_memory=not wipes).wipes is not wipes


def test_the_key_of_an_actor_is_shown_nowhere(tmp_path):
    settings = Settings(project=tmp_path, actor_key="lc_secret")
    assert "lc_secret" not in repr(settings)
    assert "lc_secret" not in str(environment_of(settings))
