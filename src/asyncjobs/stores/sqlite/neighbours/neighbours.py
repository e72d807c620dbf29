"""The other processes of a store: tells them what they need to hear of, and hears of what they do.

By datagrams, where there are any, and else by looking whether the database has changed. What comes
out are hints (see `hints`): nothing here has to arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

from ....errors import StoreUnavailable
from ....hints import Changed, Hints, Queued, Something
from ....job import Job
from .bell import Bell
from .datagrams import Mailbox
from .interest import EVERYBODY, Asked, Wanted, whom_to_ask, whom_to_tell
from .messages import Ask, Tell, Tellable, decode, word_of
from .outbox import Outbox

#: Seconds between two looks whether another process has written, where no datagram tells.
POLL_INTERVAL = 0.05
#: The same where datagrams tell: they may be lost.
NET_INTERVAL = 1.0
#: All are told of queued jobs at most once in so many seconds.
BELL_INTERVAL = 0.02
#: So long the list of the others holds, in seconds: to read it for each of many jobs takes time.
_LIST_INTERVAL = 0.1
#: Hints that are handed on in one turn of the event loop; what else there is comes in later turns.
HINTS_PER_TURN = 100
#: Hints of others that wait to be handed on; of a flood the rest is lost, as any hint may be.
MAX_HINTS = 5000


class Neighbours:
    """The processes beside the one called `name`.

    Args:
        folder: where their sockets are.
        hints: gets what this process and the others tell.
        versions_of: the versions that jobs are at in the store, of those that are there.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        hints: Hints,
        versions_of: Callable[[Collection[str]], Mapping[str, int]],
    ) -> None:
        self._name = name
        self._hints = hints
        self._versions_of = versions_of
        self._loop = asyncio.get_running_loop()
        self._asked = Asked()
        self._wanted = Wanted()
        self._questions: list[Ask] = []
        # In a dictionary, as nothing needs to be handed on twice.
        self._told: dict[Tellable, None] = {}
        self._outboxes: dict[str, Outbox] = {}
        self._others: list[str] = []
        self._others_hold = self._loop.time()
        self._bell = Bell(self._tell_of_queued, BELL_INTERVAL)
        self._mailbox = Mailbox.open(folder, name, self._received)

    def follow(self, job: Job) -> None:
        """Somebody here waits for what becomes of this job."""
        if self._mailbox is None:
            return
        whom = whom_to_ask(job, self._name)
        if whom is not None and self._asked.add(whom, job):
            self._say(whom, f"ask {self._name}", f"{job.id}:{job.version}")

    def wrote(self, old: Job | None, new: Job) -> None:
        """This process has put `new` in the place of `old`."""
        for name, hint in whom_to_tell(old, new, self._name):
            if isinstance(hint, Queued):
                self._bell.pull()
            else:
                self._tell(name, hint)

    def changed(self, job_ids: list[str]) -> None:
        """These jobs have changed, for good: tell all who listen here, and who asked elsewhere."""
        self._hints.send([Changed(job_id) for job_id in job_ids])
        self._tell_who_asked(job_ids)

    async def watch(self, data_version: Callable[[], int]) -> None:
        """Give a hint when others have written: soon where nothing else tells, else as a net.

        Args:
            data_version: a number that changes when another process has written.
        """
        seen = data_version()
        while True:
            await asyncio.sleep(POLL_INTERVAL if self._mailbox is None else NET_INTERVAL)
            with suppress(StoreUnavailable):  # whoever reads meets that as well
                if (version := data_version()) != seen:
                    seen = version
                    self._hints.send([Something()])
            for name in self._outboxes.keys() - set(self._list_others()):
                del self._outboxes[name]

    def close(self) -> None:
        """Say what is still to be said, and hear no more."""
        self._questions.clear()
        self._told.clear()
        self._bell.close()
        for outbox in self._outboxes.values():
            outbox.close()
        if self._mailbox is not None:
            self._mailbox.close()

    def abandon(self) -> None:
        """Hear no more, and say nothing, as the event loop was closed."""
        if self._mailbox is not None:
            self._mailbox.close()

    def _received(self, data: bytes) -> None:
        match decode(data):
            case Ask() as question:
                if not self._questions:
                    self._loop.call_soon(self._answer)
                self._questions.append(question)
            case Tell(hints):
                if not self._told:
                    self._loop.call_soon(self._hand_on)
                self._told.update(dict.fromkeys(hints[: MAX_HINTS - len(self._told)]))

    def _answer(self) -> None:
        """Answer all that was asked in this turn of the loop, by one look at the store."""
        asked, self._questions = self._questions, []
        questions = [each for each in asked if self._knows(each.name)]
        if not questions:
            return  # nobody would hear the answer, or it was closed meanwhile
        versions: Mapping[str, int] = {}
        with suppress(StoreUnavailable):  # whoever asks may see for itself
            versions = self._versions_of({job_id for each in questions for job_id in each.known})
        for question in questions:
            for job_id, version in question.known.items():
                if versions.get(job_id) == version:
                    self._wanted.add(question.name, job_id)
                else:
                    self._tell(question.name, Changed(job_id))

    def _hand_on(self) -> None:
        """Hand on what the others have told."""
        hints = list(islice(self._told, HINTS_PER_TURN))
        for hint in hints:
            del self._told[hint]
        if self._told:
            self._loop.call_soon(self._hand_on)
        job_ids = [hint.job_id for hint in hints if isinstance(hint, Changed)]
        self._asked.answered(job_ids)
        self._hints.send(hints)
        # Who runs a job that was changed elsewhere is who the others have asked about it.
        self._tell_who_asked(job_ids)

    def _tell_who_asked(self, job_ids: list[str]) -> None:
        if self._wanted:
            for name, job_id in self._wanted.take(job_ids):
                self._tell(name, Changed(job_id))

    def _tell_of_queued(self) -> None:
        self._tell(EVERYBODY, Queued())

    def _tell(self, whom: str, hint: Tellable) -> None:
        self._say(whom, "tell", word_of(hint))

    def _say(self, whom: str, head: str, thing: str) -> None:
        if self._mailbox is None:
            return
        for name in self._list_others() if whom == EVERYBODY else [whom]:
            if not self._knows(name):
                continue
            if name not in self._outboxes:
                self._outboxes[name] = Outbox(partial(self._mailbox.send, name))
            self._outboxes[name].put(head, thing)

    def _knows(self, name: str) -> bool:
        """Whether that is a peer: of them are no more than there are sockets, whoever asks."""
        if name in self._outboxes:
            return True
        return name != self._name and self._mailbox is not None and self._mailbox.reaches(name)

    def _list_others(self) -> list[str]:
        if self._mailbox is not None and self._loop.time() >= self._others_hold:
            with suppress(OSError):  # who could not be looked for is not gone
                self._others = self._mailbox.others()
            self._others_hold = self._loop.time() + _LIST_INTERVAL
        return self._others
