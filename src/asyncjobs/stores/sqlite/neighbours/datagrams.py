"""Datagrams between the processes that share a store: within a millisecond, but without a promise.

Each process has a unix socket in a common folder. A datagram to one that is gone is lost, and one
to a process that does not read them (one that is stopped, for example) finds its queue full.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from ..processes.forks import left_in_forked_child
from ..processes.names import SOCKET_SUFFIX, socket_of

#: Bytes of the largest datagram. macOS takes no more than 2,048 (net.local.dgram.maxdgram).
MAX_SIZE = 2000
#: Datagrams that are read in one turn of the event loop, and no more, whatever anybody sends: the
#: kernel keeps the others, up to the length of the queue.
BATCH = 8
#: Bytes of the longest address: 104 on macOS and BSD, 108 on Linux, with the zero at its end.
_MAX_ADDRESS = 103
# macOS says of a full queue that there is no buffer.
_QUEUE_FULL = frozenset({errno.EAGAIN, errno.ENOBUFS})


class Mailbox:
    """The socket of the process called `name`.

    Args:
        received: called on the event loop with each datagram.

    Raises:
        OSError, NotImplementedError: there can be none; see `open`.
    """

    def __init__(self, folder: Path, name: str, received: Callable[[bytes], None]) -> None:
        self._name = name
        self._folder = folder
        self._received = received
        self._loop = asyncio.get_running_loop()
        self._folder_fd: int | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        left_in_forked_child(self)
        try:
            self._bind()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, folder: Path, name: str, received: Callable[[bytes], None]) -> Self | None:
        """The open mailbox, or None where there can be none: on Windows, on some file systems."""
        if not hasattr(socket, "AF_UNIX"):
            return None
        try:
            return cls(folder, name, received)
        except (OSError, NotImplementedError):
            return None

    def others(self) -> list[str]:
        """Whom a datagram can be sent to. Some of them may be dead.

        Raises:
            OSError: nobody can tell.
        """
        names = os.listdir(self._folder)
        own = f"{self._name}{SOCKET_SUFFIX}"
        return [
            name.removesuffix(SOCKET_SUFFIX)
            for name in names
            if name.endswith(SOCKET_SUFFIX) and name != own
        ]

    def reaches(self, name: str) -> bool:
        """Whether the process called `name` has a socket. It may be dead all the same."""
        return _can_be_called(name) and os.path.lexists(self._address(name))

    def send(self, name: str, data: bytes) -> bool:
        """Send `data` to the process called `name`; False if its queue is full just now.

        Never waits. To send to nobody is no error: nothing is promised.
        """
        if not _can_be_called(name):
            return True
        try:
            self._socket.sendto(data, self._address(name))
        except OSError as error:
            return error.errno not in _QUEUE_FULL
        return True

    def close(self) -> None:
        """Close and remove the socket, unless this is a forked child, which has none."""
        if self._socket.fileno() < 0:
            return
        with suppress(NotImplementedError, RuntimeError):  # it is closed, and reads nothing
            self._loop.remove_reader(self._socket)
        with suppress(OSError):
            os.unlink(self._address(self._name))
        self.leave()

    def leave(self) -> None:
        """Close the descriptors only: a forked child shares all the rest with its parent."""
        self._socket.close()
        if self._folder_fd is not None:
            os.close(self._folder_fd)
            self._folder_fd = None

    def _bind(self) -> None:
        self._socket.setblocking(False)
        if len(os.fsencode(socket_of(self._folder, self._name))) > _MAX_ADDRESS:
            self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        address = self._address(self._name)
        self._socket.bind(address)
        os.chmod(address, 0o600)
        self._loop.add_reader(self._socket, self._receive)

    def _address(self, name: str) -> str:
        """Where the socket of `name` is. On Linux there is a short way to every folder."""
        folder = self._folder if self._folder_fd is None else f"/proc/self/fd/{self._folder_fd}"
        return f"{folder}/{name}{SOCKET_SUFFIX}"

    def _receive(self) -> None:
        for _ in range(BATCH):
            try:
                data = self._socket.recv(MAX_SIZE)
            except OSError:
                return  # there is no more
            self._received(data)


def _can_be_called(name: str) -> bool:
    """False for what is no file's name, whatever the store says."""
    return "/" not in name and "\0" not in name
