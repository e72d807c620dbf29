"""What is a key in `Idempotency-Key`, what is the same request, and what is the same key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from http_sf import ser
from hypothesis import example, given
from hypothesis import strategies as st

from asyncjobs.errors import InvalidRequest
from asyncjobs.job import Request
from asyncjobs.key import MAX_KEY_BYTES, fingerprint_of, key_of_client, key_of_route
from asyncjobs.testing import REQUEST
from asyncjobs.web.http.idempotency import key_in

TOKEN = "!#$%&'*+-.^_`|~:/=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASCII = "".join(map(chr, range(32, 127)))

tokens = st.text(TOKEN, min_size=1, max_size=MAX_KEY_BYTES)
strings = st.text(ASCII, min_size=1, max_size=MAX_KEY_BYTES)


# What is a key.


@given(tokens)
def test_both_spellings_are_one_key(token: str) -> None:
    """A token is the same key with quotation marks and without them, blanks around it aside."""
    for written in (token, f'"{token}"', f'  "{token}"\t', f'"{token}";as=ever'):
        assert key_in([written.encode()]) == token


@given(strings)
@example('"' * MAX_KEY_BYTES)
@example("\\")
@example(" ")
def test_any_string_is_a_key(key: str) -> None:
    """What can be written as a string is read as it was, whatever has to be escaped in it."""
    assert key_in([ser(key).encode()]) == key


@given(st.lists(st.binary() | strings.map(str.encode) | tokens.map('"{}'.format).map(str.encode)))
@example([b"a" * (MAX_KEY_BYTES + 1)])
@example([b'"' + b"a" * (MAX_KEY_BYTES + 1) + b'"'])
@example([b'"a";' + b"b" * 100_000])
@example([b'"\xff"'])
@example([b"a", b"a"])
def test_whatever_comes_is_a_key_or_refused(values: list[bytes]) -> None:
    """Of whatever a request has of the header a key is made, or an error that says what it is to
    be."""
    try:
        key = key_in(values)
    except InvalidRequest as error:
        assert "Idempotency-Key must be a string" in str(error)  # noqa: PT017
    else:
        assert len(values) == 1
        assert 1 <= len(key.encode()) <= MAX_KEY_BYTES


# What is the same request, and the same key.


parts = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "GETP"]),
        "path": st.sampled_from(["/", "/a", "/ab", "/b", "\udcff"]),
        "query": st.sampled_from([b"", b"b", b"a"]),
        "headers": st.sampled_from([(), ((b"content-type", b""),), ((b"content-type", b"b"),)]),
        "body": st.sampled_from([b"", b"b", b"ab", b"\0" * 8]),
    }
)


@given(parts, parts)
def test_requests_are_the_same_if_all_of_their_parts_are(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Method, path, query, content type and body have to be: none of them runs into the next."""
    same = fingerprint_of(Request(**one)) == fingerprint_of(Request(**other))
    assert same == (one == other)


@pytest.mark.parametrize(
    "other",
    [
        {"headers": (*REQUEST.headers, (b"x-request-id", b"2"), (b"prefer", b"wait=1"))},
        {"scheme": "http"},
        {"root_path": ""},
        {"http_version": "1.1"},
        {"client": ("::2", 4321)},
        {"server": None},
        {"context": b""},
    ],
    ids=lambda other: "".join(other),
)
def test_all_else_does_not_matter(other: dict[str, Any]) -> None:
    """Who repeats a request may come by another connection, and with other headers."""
    assert fingerprint_of(replace(REQUEST, **other)) == fingerprint_of(REQUEST)


def test_no_key_is_another_ones() -> None:
    """Keys of other programs, owners, routes and hosts are others, however these are called, and
    so are those of clients and of routes."""
    names = ["", "a", "ab", "b", None]
    scopes = [(p, o, r, h) for p in names for o in names for r in names for h in names]
    keys = [key_of_client(said, REQUEST, *scope) for said in ("a", "b") for scope in scopes]
    keys += [key_of_route(said, *scope[:3]) for said in ("a", "b") for scope in scopes[::5]]
    assert len({key.digest for key in keys}) == len(keys)
    assert {len(key.digest) for key in keys} == {16}
    assert {key.fingerprint for key in keys} == {fingerprint_of(REQUEST), None}
