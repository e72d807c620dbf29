"""A real nginx in front of a server, with TLS, as operators put it there."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from functools import partial
from pathlib import Path
from string import Template
from typing import Any, Self

import httpx
import pytest

from server import DEADLINE, until

# All that it writes is in one folder; what the test says of its locations comes into the server.
_CONFIG = Template(
    """
daemon off;
$user
worker_processes 1;
pid $folder/pid;
error_log $folder/error.log error;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    proxy_cache_path $folder/cache keys_zone=shared:1m;
    server {
        listen 127.0.0.1:$port ssl http2;
        server_name localhost;
        ssl_certificate $folder/certificate.pem;
        ssl_certificate_key $folder/key.pem;
$locations
    }
}
"""
)


class Nginx:
    """One nginx. Used as a context manager: it answers when the block begins.

    Args:
        folder: an empty one, or one that is not there yet.
        locations: what comes into its only server, as in ``nginx.conf``.
    """

    def __init__(self, folder: Path, locations: str) -> None:
        if shutil.which("nginx") is None:
            pytest.skip("nginx is missing")
        if shutil.which("openssl") is None:
            pytest.skip("openssl is missing, which makes the certificate of nginx")
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._locations = locations
        self.port = 0

    def __enter__(self) -> Self:
        self._make_certificate()
        self._process, self.port = self._started()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        """A client that trusts its certificate alone."""
        context = ssl.create_default_context(cafile=self.folder / "certificate.pem")
        return httpx.Client(base_url=self.url, verify=context, timeout=DEADLINE, **options)

    def log(self) -> str:
        """What it complains of."""
        return (self.folder / "error.log").read_text(errors="replace")

    def _started(self) -> tuple[subprocess.Popen[bytes], int]:
        # It cannot be given a port that is open already, nor tell which it has chosen.
        while True:
            port = _free_port()
            process = self._start(port)
            try:
                until(partial(_answers, process, port), "the start of nginx")
            except ChildProcessError:
                if "Address already in use" not in self.log():
                    raise RuntimeError(f"nginx has ended:\n{self.log()}") from None
            else:
                return process, port

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        config = self.folder / "nginx.conf"
        # Else the workers of root's nginx are nobody's, who cannot write there.
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(
            _CONFIG.substitute(folder=self.folder, user=user, port=port, locations=self._locations)
        )
        command = ["nginx", "-e", str(self.folder / "error.log"), "-c", str(config)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def _make_certificate(self) -> None:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec"),
                *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", "key.pem", "-out", "certificate.pem"),
            ],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    if process.poll() is not None:
        raise ChildProcessError
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
