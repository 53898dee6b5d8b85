"""The command line: thin verbs over wiring and the installed flows.

A verb belongs here when a person types it. It parses words, calls one thing, prints and picks an exit code;
whatever takes a decision or a library stands elsewhere and is imported when the verb runs, so that
``lifecycle --help`` answers at once.
"""

from lifecycle.cli.base import main
from lifecycle.cli.capacity_verb import capacity
from lifecycle.cli.flow_verbs import first_deployment, rollback, update
from lifecycle.cli.key_verbs import keys
from lifecycle.cli.log_verbs import log, outcomes
from lifecycle.cli.look_verbs import doctor, history, reproduce
from lifecycle.cli.project_verbs import data, init, stage
from lifecycle.cli.records import records
from lifecycle.cli.score_verb import score
from lifecycle.cli.server_verbs import down, serve, status, up

__all__ = ["main"]

_LOOP = (
    init,
    first_deployment,
    update,
    rollback,
    score,
    history,
    reproduce,
    data,
    log,
    outcomes,
    records,
    stage,
)
_SERVERS = (up, status, down, serve, keys, capacity, doctor)

for verb in (*_LOOP, *_SERVERS):
    main.add_command(verb)
