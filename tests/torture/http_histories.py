"""What is promised of answers in the light of those that came before."""

from __future__ import annotations

from collections.abc import Iterator

from .http_asks import Exchange
from .http_key_promises import OF_KEYS
from .http_ledger import Ledger
from .http_limit_promises import only_a_crowd_is_refused
from .http_list_promises import OF_LISTS
from .http_steer_promises import OF_STEERING
from .http_tag_promises import OF_TAGS
from .promises import Broken, sentence

OF_HISTORIES = (*OF_KEYS, *OF_TAGS, *OF_LISTS, *OF_STEERING, only_a_crowd_is_refused)


def broken_before(exchange: Exchange, ledger: Ledger) -> Iterator[Broken]:
    """What an answer breaks that was told before."""
    for promise in OF_HISTORIES:
        for job_id, evidence in promise(exchange, ledger):
            yield Broken(sentence(promise), job_id, f"{evidence}\n    {exchange}")
