"""Settings to real adapters: the only place that knows them all. Each is imported when it is asked for.

`adapters` makes one adapter each, `loop` and `service` put them together.
"""

from lifecycle.wiring.adapters import (
    actor_of,
    engine_loader,
    estimator_command,
    open_engine,
    open_keys,
    open_ledger,
    open_log,
    open_registry,
    open_signer,
    open_store,
    open_workspace,
    schema_of_system,
    vault_opener,
)
from lifecycle.wiring.erasure import open_eraser, open_lineage, open_rotator
from lifecycle.wiring.loop import (
    checkout_data,
    compact_log,
    import_outcomes,
    log_status,
    open_loop,
    open_scorer,
    outcome_counts,
    reproduce,
    run_stage,
)
from lifecycle.wiring.records import Office, open_office, open_sealed, parse_ref
from lifecycle.wiring.service import addresses, capacity, serve, work

__all__ = [
    "Office",
    "actor_of",
    "addresses",
    "capacity",
    "checkout_data",
    "compact_log",
    "engine_loader",
    "estimator_command",
    "import_outcomes",
    "log_status",
    "open_engine",
    "open_eraser",
    "open_keys",
    "open_ledger",
    "open_lineage",
    "open_log",
    "open_loop",
    "open_office",
    "open_registry",
    "open_rotator",
    "open_scorer",
    "open_sealed",
    "open_signer",
    "open_store",
    "open_workspace",
    "outcome_counts",
    "parse_ref",
    "reproduce",
    "run_stage",
    "schema_of_system",
    "serve",
    "vault_opener",
    "work",
]
