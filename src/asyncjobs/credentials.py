"""Which names are those of credentials: of headers, of arguments, of keys."""

from __future__ import annotations

import re

# What is long enough to be told anywhere in a name, then what only is a word of its own. The table
# of what it matches and what not is in tests/test_credentials.py. No part of it repeats without
# end: a name may be as long as the server allows, and be made to take long.
_CREDENTIAL = re.compile(
    r"""
    auth(?!or) | authori[sz]           # not Author, not Authority
    | token | secret(?!ar) | session | sessid | cookie | [cx]srf | credential | bearer
    | passw | passphrase | passcode | pwd | signature | hmac | assertion | certificat
    | jw[tsek] | oidc | dpop | saml | wsse | ntlm | kerberos | paseto | macaroon | nonce
    | (api|access)[-_]?key | key[-_]?pair | client[-_]?cert | (ssl|tls)[-_]client
    | (verify | verification | confirmation | security | recovery | backup | access | login
      | invite | invitation)[-_]?code
    | protection[-_]bypass
    | ticket$                          # not Ticket-Id, which is a customer's
    | (?<!con)certs?(?![a-z])
    | (?<!mon|tur|hoc|don)keys?(?![a-z])
    | (?<![a-z])
      ( x?(user|db|admin)?(pass|pw) | (x|t|h|sms|email)?otp | pin | mfa | [2t]fa | creds?
      | (api|app)?(sig|sign) | signed | sid | sess | sso | psk | tkn | krb5? | crumb )
      (?![a-z])
    """,
    re.VERBOSE,
)
#: Credentials of well-known services, whose names have no word in them that tells.
NAMED_CREDENTIALS = frozenset(
    {
        "iplanetdirectorypro",
        "mysapsso2",
        "x-firebase-appcheck",
        "x-jfrog-art-api",
        "x-origin-verify",
        "x-trello-webhook",
        "x-zumo-master",
    }
)
# What looks like one to that pattern, and is none.
_NO_CREDENTIAL = re.compile(
    r"""
    accept-signature | (x-)?cookie[-_]consent | (x-)?key[-_]id | (.*[-_])?partition[-_]?keys?
    | (x-)?(idempotency|cache|surrogate|routing|sort|shard|event|kafka|message|object|translation
      | public)[-_]?keys?
    """,
    re.VERBOSE,
)


def is_credential(name: str) -> bool:
    """Whether what has this name looks like a credential; case is the same, and `_` is as `-`."""
    name = name.lower().replace("_", "-")
    if _NO_CREDENTIAL.fullmatch(name):
        return False
    return name in NAMED_CREDENTIALS or bool(_CREDENTIAL.search(name))
