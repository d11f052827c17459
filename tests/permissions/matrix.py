"""Every page, endpoint and socket with the rule of who gets in: one line for each.

A route that has no row here fails the test, and so does a method that answers without one. To add
a route, add its line to ROWS: the method, the route as in urls.py (without the slash at its end),
and the rule. What is in ``<...>`` is filled in with something of fintech that is there: MADE in
``test_matrix.py`` makes it, or ``fill`` of the row names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lepton_apps.accounts.models import Role

STREAM = "fintech.transactions"
ORDER = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
ANY = "ANY"  # of the methods: the route answers all of them alike
SOCKET = "SOCKET"


class Rule(Enum):
    """Who gets in. What belongs to a vertical is of fintech here."""

    OPEN = "everybody, strangers too"
    SIGNED_IN = "everybody who is signed in"
    VIEWER = "viewers of the vertical"
    OPERATOR = "operators of the vertical"
    ADMIN = "admins of the vertical"
    ANY_ADMIN = "admins of any vertical, who see what is of theirs"
    ITS_ADMIN = "admins of the vertical in which an account has its role"
    SUPERUSER = "superusers"
    BY_SESSION = "everybody, and no token"
    OWN_TOKEN = "everybody for the own tokens; a token for itself alone, so not for this one"
    COORDINATOR = "a token for federation in the vertical, and no other credential"
    NOBODY = "nobody: it is not there"


@dataclass(frozen=True)
class Row:
    method: str
    route: str
    rule: Rule
    body: Any = None
    fill: Mapping[str, str] = field(default_factory=dict)  # for places that MADE does not know
    vertical: str = "fintech"  # whose rights count; people have the same role in fintech and ops


class Outcome(Enum):
    """What a person gets to see."""

    IN = "let in"
    SIGN_IN = "asked to sign in"
    REFUSED = "refused"
    MISSING = "told that it is not there"


@dataclass(frozen=True)
class Asker:
    """Somebody with a credential, and what it is worth now."""

    name: str
    credential: str  # "session", "token" or "none"
    counts: bool = True  # whether the credential signs in at all
    role: Role | None = None  # in fintech
    is_other_admin: bool = False  # administers another vertical
    is_superuser: bool = False
    limited_to: str = ""  # the one vertical that its token may be used in
    is_coordinator: bool = False  # a token for federation in fintech
    is_coordinator_elsewhere: bool = False  # in another vertical


def expected(rule: Rule, asker: Asker, vertical: str = "fintech") -> Outcome:
    """The whole of who may do what, said a second time and independently of the product."""
    if rule is Rule.OPEN:
        return Outcome.IN
    if not asker.counts:
        return Outcome.SIGN_IN
    if asker.is_coordinator:
        return Outcome.IN if rule is Rule.COORDINATOR else Outcome.REFUSED
    if asker.is_coordinator_elsewhere:
        return Outcome.MISSING if rule is Rule.COORDINATOR else Outcome.REFUSED
    by_token = asker.credential == "token"
    role = Role.ADMIN if asker.is_superuser else asker.role
    if asker.limited_to not in ("", vertical):
        role = None
    if rule in (Rule.VIEWER, Rule.OPERATOR, Rule.ADMIN):
        if role is None:
            return Outcome.MISSING
        needed = Role[rule.name]
        return Outcome.IN if ORDER.index(role) >= ORDER.index(needed) else Outcome.REFUSED
    if rule is Rule.COORDINATOR:
        return Outcome.MISSING if role is None else Outcome.REFUSED
    if rule is Rule.SUPERUSER and not asker.is_superuser:
        return Outcome.MISSING if asker.is_other_admin else Outcome.REFUSED
    if rule is Rule.ITS_ADMIN and role is not Role.ADMIN:
        return Outcome.MISSING if asker.is_other_admin else Outcome.REFUSED
    if rule is Rule.ANY_ADMIN and role is not Role.ADMIN and not asker.is_other_admin:
        return Outcome.REFUSED
    if rule is Rule.BY_SESSION and by_token:
        return Outcome.REFUSED
    if rule is Rule.NOBODY or (rule is Rule.OWN_TOKEN and by_token):
        return Outcome.MISSING
    return Outcome.IN


LABEL = {
    "stream": STREAM,
    "record_id": "t-1",
    "verdict": "positive",
    "labelled_at": "2026-03-01T10:00:00Z",
}
NEW_ACCOUNT = {"username": "in valid", "role-fintech": "viewer", "role-weather": "viewer"}
VERDICT = {"verdict": "positive"}
LETTER = "streams/<str:stream>/dead-letters/<int:letter_id>"
PERSON = "accounts/<str:username>"
VERSION = "models/<str:model>/<int:number>"
VERBS = ("promote", "rollback", "withdraw", "retire")
API = "api/v1"

ROWS = (
    # --- pages
    Row(ANY, "healthz", Rule.OPEN),
    Row(ANY, "readyz", Rule.OPEN),
    Row("GET", "", Rule.SIGNED_IN),
    Row("GET", "nav", Rule.SIGNED_IN),
    Row("GET", "alerts/<int:alert_id>", Rule.VIEWER),
    Row("GET", "alerts/<int:alert_id>/state", Rule.VIEWER),
    Row("GET", "alerts/<int:alert_id>/causes", Rule.VIEWER),
    Row("POST", "alerts/<int:alert_id>/acknowledge", Rule.OPERATOR),
    Row("POST", "alerts/<int:alert_id>/assign", Rule.OPERATOR, {"to": "nobody"}),
    Row("POST", "alerts/<int:alert_id>/resolve", Rule.OPERATOR, {"positive": "1"}),
    Row("POST", "alerts/<int:alert_id>/label", Rule.OPERATOR, {"positive": "1"}),
    Row("GET", "alerts", Rule.OPEN),  # sends on to the list
    Row("POST", "alerts/together", Rule.OPERATOR, {"act": "acknowledge", "id": "<int:alert_id>"}),
    Row("GET", "overview", Rule.SIGNED_IN),
    Row("GET", "records/<uuid:decision_id>", Rule.VIEWER),
    Row("POST", "views", Rule.SIGNED_IN, {"name": "mine", "query": ""}),
    Row("POST", "views/<int:view_id>/delete", Rule.SIGNED_IN),
    Row("GET", "streams", Rule.SIGNED_IN),
    Row("GET", "streams/<str:stream>/dead-letters", Rule.VIEWER),
    Row("GET", LETTER, Rule.VIEWER),
    Row("POST", f"{LETTER}/redrive", Rule.OPERATOR),
    Row("POST", f"{LETTER}/discard", Rule.OPERATOR),
    Row("POST", "streams/<str:stream>/dead-letters/settle", Rule.OPERATOR, {"act": "discard"}),
    Row("GET", "budgets", Rule.SIGNED_IN),
    Row("GET", "budgets/<str:stream>/preview", Rule.VIEWER),
    Row("POST", "budgets/<str:stream>/set", Rule.ADMIN, {"kind": "alerts", "per_day": "5"}),
    Row("POST", "budgets/<str:stream>/clear", Rule.ADMIN),
    Row("GET", "replay", Rule.SIGNED_IN),
    Row("POST", "replay/start", Rule.OPERATOR, {"stream": STREAM, "since": "some day"}),
    Row("GET", "replay/<int:run_id>", Rule.VIEWER),
    Row("POST", "replay/<int:run_id>/cancel", Rule.OPERATOR),
    Row("GET", "models", Rule.SIGNED_IN),
    Row("GET", VERSION, Rule.VIEWER),
    *(
        Row(
            "GET", f"{VERSION}/confirm/<str:verb>", Rule.ADMIN, {"role": "champion"}, {"verb": verb}
        )
        for verb in ("promote", "retire")  # the others need a role to take
    ),
    *(
        Row("POST", f"{VERSION}/{verb}", Rule.ADMIN, {"why": "", "role": "champion"})
        for verb in VERBS
    ),
    Row("GET", "panels/<str:vertical>", Rule.VIEWER),
    Row("GET", "sign-in", Rule.OPEN),
    Row("POST", "sign-in", Rule.OPEN, {"username": "nobody", "password": "wrong"}),
    Row("GET", "choose-password", Rule.OPEN),
    Row("POST", "choose-password", Rule.OPEN),
    Row("POST", "sign-out", Rule.OPEN),
    Row("GET", "password", Rule.SIGNED_IN),
    Row("POST", "password", Rule.SIGNED_IN, {"old_password": ""}),
    Row("GET", "account", Rule.SIGNED_IN),
    Row("POST", "account/tokens", Rule.BY_SESSION, {"name": "made", "days": "7"}),
    Row("POST", "account/tokens/<int:token_id>/revoke", Rule.OWN_TOKEN),
    Row("POST", "account/sessions/end", Rule.SIGNED_IN),
    Row("GET", "accounts", Rule.ANY_ADMIN),
    Row("POST", "accounts", Rule.ANY_ADMIN, NEW_ACCOUNT),
    Row("GET", PERSON, Rule.ITS_ADMIN),
    Row("POST", f"{PERSON}/role", Rule.ITS_ADMIN, {"vertical": "fintech", "role": "operator"}),
    Row("POST", f"{PERSON}/password", Rule.ITS_ADMIN),
    Row("POST", f"{PERSON}/active", Rule.ITS_ADMIN, {"active": "0"}),
    Row("POST", f"{PERSON}/sessions/end", Rule.ITS_ADMIN),
    Row("POST", f"{PERSON}/superuser", Rule.SUPERUSER, {"superuser": "0"}),
    Row("POST", f"{PERSON}/tokens/<int:token_id>/revoke", Rule.SUPERUSER),
    Row("GET", "audit", Rule.ANY_ADMIN),
    # --- endpoints
    Row("GET", f"{API}/me", Rule.SIGNED_IN),
    Row("GET", f"{API}/schema", Rule.SIGNED_IN),
    Row("GET", f"{API}/accounts", Rule.ANY_ADMIN),
    Row("GET", f"{API}/audit", Rule.ANY_ADMIN),
    Row("GET", f"{API}/audit/export", Rule.ANY_ADMIN),
    Row("GET", f"{API}/tokens", Rule.SIGNED_IN),
    Row("POST", f"{API}/tokens", Rule.BY_SESSION, {"name": "made"}),
    Row("POST", f"{API}/tokens/<int:token_id>/revoke", Rule.OWN_TOKEN),
    Row("GET", f"{API}/streams", Rule.SIGNED_IN),
    Row("GET", f"{API}/streams/<str:name>", Rule.VIEWER),
    Row("POST", f"{API}/streams/<str:name>/score", Rule.VIEWER, {"id": 1}),
    Row("POST", f"{API}/streams/<str:name>/decisions", Rule.OPERATOR, {"id": 1}),
    Row("POST", f"{API}/streams/<str:name>/resume", Rule.ADMIN),
    Row("GET", f"{API}/streams/<str:name>/budget", Rule.VIEWER),
    Row("PUT", f"{API}/streams/<str:name>/budget", Rule.ADMIN, {"per_day": -1}),
    Row("POST", f"{API}/streams/<str:name>/replays", Rule.OPERATOR, {"since": "now"}),
    Row("GET", f"{API}/replays", Rule.SIGNED_IN),
    Row("GET", f"{API}/replays/<int:run_id>", Rule.VIEWER),
    Row("POST", f"{API}/replays/<int:run_id>/cancel", Rule.OPERATOR),
    Row("GET", f"{API}/models", Rule.SIGNED_IN),
    Row("GET", f"{API}/models/<str:name>", Rule.VIEWER),
    Row("GET", f"{API}/models/<str:name>/comparison", Rule.VIEWER),
    Row("GET", f"{API}/models/<str:name>/drift", Rule.VIEWER),
    Row("GET", f"{API}/models/<str:name>/live", Rule.VIEWER),
    Row("GET", f"{API}/models/<str:name>/retraining", Rule.VIEWER),
    Row("PUT", f"{API}/models/<str:name>/retraining", Rule.ADMIN, {"recipe": f"{STREAM}.history"}),
    Row("GET", f"{API}/models/<str:name>/versions/<int:number>", Rule.VIEWER),
    Row("POST", f"{API}/models/<str:name>/versions/<int:number>/promote", Rule.ADMIN, {"why": ""}),
    Row("POST", f"{API}/models/<str:name>/versions/<int:number>/retire", Rule.ADMIN, {"why": ""}),
    Row("POST", f"{API}/models/<str:name>/rollback", Rule.ADMIN, {"why": ""}),
    Row("POST", f"{API}/models/<str:name>/withdraw", Rule.ADMIN, {"why": ""}),
    Row("GET", f"{API}/alerts", Rule.SIGNED_IN),
    Row("GET", f"{API}/alerts/<int:alert_id>", Rule.VIEWER),
    Row("GET", f"{API}/alerts/<int:alert_id>/causes", Rule.VIEWER),
    Row("GET", f"{API}/ops/topology", Rule.VIEWER, vertical="ops"),
    Row("PUT", f"{API}/ops/topology", Rule.OPERATOR, {"services": {}}, vertical="ops"),
    Row("POST", f"{API}/alerts/<int:alert_id>/acknowledge", Rule.OPERATOR),
    Row("POST", f"{API}/alerts/<int:alert_id>/assign", Rule.OPERATOR, {"assigned_to": None}),
    Row("POST", f"{API}/alerts/<int:alert_id>/resolve", Rule.OPERATOR, VERDICT),
    Row("POST", f"{API}/alerts/<int:alert_id>/label", Rule.OPERATOR, VERDICT),
    Row("GET", f"{API}/labels", Rule.SIGNED_IN),
    Row("POST", f"{API}/labels", Rule.OPERATOR, LABEL),
    Row("GET", f"{API}/federation/<str:stream>", Rule.VIEWER),
    Row("POST", f"{API}/federation/<str:stream>/join", Rule.COORDINATOR),
    Row("POST", f"{API}/federation/<str:stream>/update", Rule.COORDINATOR),
    Row("GET", f"{API}/dead-letters", Rule.SIGNED_IN),
    Row("GET", f"{API}/dead-letters/<int:dead_letter_id>", Rule.VIEWER),
    Row("POST", f"{API}/dead-letters/<int:dead_letter_id>/redrive", Rule.OPERATOR, {"payload": 1}),
    Row("POST", f"{API}/dead-letters/<int:dead_letter_id>/discard", Rule.OPERATOR),
    Row(ANY, f"{API}/^(?P<path>.*)$", Rule.NOBODY),
    # --- sockets
    Row(SOCKET, "ws/alerts", Rule.VIEWER),
)
