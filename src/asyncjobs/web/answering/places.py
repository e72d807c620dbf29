"""How many requests an app holds at a time."""

from __future__ import annotations


class Places:
    """A limiter: those of one app in one process, for requests that are held. Whoever has one has
    it until it is given back, and no second one."""

    def __init__(self) -> None:
        self._holders: set[object] = set()

    @property
    def taken(self) -> int:
        """So many are."""
        return len(self._holders)

    def take(self, holder: object, most: int) -> bool:
        """Whether `holder` has a place, now or since before: there are `most`."""
        if holder not in self._holders and len(self._holders) >= most:
            return False
        self._holders.add(holder)
        return True

    def give_back(self, holder: object) -> None:
        """`holder` needs none any more, whether it has one or not."""
        self._holders.discard(holder)
