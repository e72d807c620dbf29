"""All kinds of attack, and how often each is chosen among the others."""

from __future__ import annotations

from . import http_attacks
from .http_attacks import Kinds
from .http_conditions import conditional, held, junk_conditions
from .http_keys import junk_keys, keyed, keyed_again, keys_of_route, torn_and_repeated
from .http_limits import crowd, group, large_headers
from .http_lists import foreign_cursors, junk_parameters, listed, no_list, walked
from .http_operators import brief, cancelled_and_retried, junk_patience, operated, retried
from .http_watchers import WATCHER_KINDS

KINDS: Kinds = {
    **http_attacks.KINDS,
    "submissions with a key": (keyed, 4),
    "repeats": (keyed_again, 5),
    "torn and repeated": (torn_and_repeated, 3),
    "junk keys": (junk_keys, 2),
    "keys of the route": (keys_of_route, 4),
    "conditional polls": (conditional, 8),
    "junk conditions": (junk_conditions, 2),
    "conditional waits": (held, 2),
    "lists": (listed, 5),
    "walks": (walked, 3),
    "foreign cursors": (foreign_cursors, 3),
    "junk parameters": (junk_parameters, 4),
    "no lists": (no_list, 2),
    "operators": (operated, 6),
    "retries": (retried, 4),
    "cancelled and retried": (cancelled_and_retried, 2),
    "brief jobs": (brief, 3),
    "junk patience": (junk_patience, 2),
    "crowds": (crowd, 1),
    "groups": (group, 1),
    "large headers": (large_headers, 2),
    **WATCHER_KINDS,
}
