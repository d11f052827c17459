"""Every change to accounts, rights, sessions and tokens. Each is written into the audit record.

``actor`` is who does it, with the rights that are checked here; None is the server itself, that is
whoever has its shell.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from lepton_apps.accounts import access, selectors, tokens
from lepton_apps.accounts.errors import (
    LastAdminError,
    OwnAccountError,
    PasswordUsedError,
    TokenRefusedError,
    UsernameRefusedError,
    UsernameTakenError,
)
from lepton_apps.accounts.models import ApiToken, OneTimePassword, Purpose, Role, VerticalAccess
from lepton_apps.accounts.sessions import open_sessions
from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.common.errors import NotFoundError, PermissionRefusedError
from lepton_apps.verticals import registry

TOKEN_DAYS: Final = 90  # a forgotten token ends by itself within a quarter
MAX_TOKEN_DAYS: Final = 3650
MAX_TOKEN_NAME: Final = 100  # characters
PASSWORD_BYTES: Final = 15  # 20 characters, 120 bits
SUPERUSERS: Final = "superusers"  # beside the verticals, in what must not lose its last person
ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended('who administers', 0))"


def account(username: str) -> User:
    """The account of that name. Raises NotFoundError."""
    user = User.objects.filter(username=username.replace("\0", "")).first()
    if user is None:
        raise NotFoundError(f"No account named {username!r}.", username=username)
    return user


# --- rights


def grant(actor: User | None, user: User, vertical: str, role: Role) -> VerticalAccess:
    """Give the user this role in the vertical, in place of the one held before.

    Raises:
        NotFoundError: an unknown vertical, or one in which the actor has no role.
        PermissionRefusedError: the actor is no admin there.
        LastAdminError: the vertical's last admin would become something less.
    """
    if vertical not in {each.key for each in registry.verticals()}:
        raise NotFoundError(f"No vertical named {vertical!r}.", vertical=vertical)
    if actor is not None:
        access.require(actor, vertical, Role.ADMIN)
    with _nobody_locked_out(actor):
        held, _ = VerticalAccess.objects.update_or_create(
            user=user, vertical=vertical, defaults={"role": role}
        )
        audit.record(
            actor, "access.granted", f"user:{user.username}", vertical=vertical, role=role.value
        )
    return held


def withdraw(actor: User | None, user: User, vertical: str) -> bool:
    """Take the user's role in the vertical away; open sockets close within FEED_RECHECK_S.

    False when there was none. Raises as ``grant`` does.
    """
    if actor is not None:
        access.require(actor, vertical, Role.ADMIN)
    with _nobody_locked_out(actor):
        count, _ = VerticalAccess.objects.filter(user=user, vertical=vertical).delete()
        if count:
            audit.record(actor, "access.withdrawn", f"user:{user.username}", vertical=vertical)
    return bool(count)


def set_superuser(actor: User | None, user: User, is_superuser: bool) -> None:
    """Let the user do everything everywhere, or no longer. Superusers alone decide about it.

    Raises PermissionRefusedError, and LastAdminError for the last superuser.
    """
    if actor is not None:
        access.require_superuser(actor)
    with _nobody_locked_out(actor):
        changed = User.objects.filter(pk=user.pk, is_superuser=not is_superuser).update(
            is_superuser=is_superuser
        )
        if changed:
            act = "superuser.granted" if is_superuser else "superuser.withdrawn"
            audit.record(actor, act, f"user:{user.username}")


def set_active(actor: User | None, user: User, is_active: bool) -> None:
    """Enable the account, or disable it: its sessions end, its tokens count no more.

    Open sockets close within FEED_RECHECK_S. Its tokens count again when it is enabled.

    Raises:
        NotFoundError, PermissionRefusedError: the actor has no charge of the account.
        OwnAccountError: nobody disables the account that is signed in.
        LastAdminError: nobody else administers a vertical, or the server.
    """
    if actor is not None:
        access.require_charge_of(actor, user)
        if actor.pk == user.pk and not is_active:
            raise OwnAccountError("This is your own account; another admin can disable it.")
    with _nobody_locked_out(actor):
        changed = User.objects.filter(pk=user.pk, is_active=not is_active).update(
            is_active=is_active
        )
        if changed:
            # Otherwise they would be there again on the day the account is enabled.
            _drop_sessions([session.key for session in open_sessions(user)])
            act = "account.enabled" if is_active else "account.disabled"
            audit.record(actor, act, f"user:{user.username}")


@contextmanager
def _nobody_locked_out(actor: User | None) -> Iterator[None]:
    """A transaction after which all is administered that was before, or which does nothing.

    The shell may do what it wants: it can also mend it.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(ONE_AT_A_TIME)  # two admins who withdraw each other's role at once
        before = _administered()
        yield
        lost = before - _administered()
        if lost and actor is not None:
            raise LastAdminError(
                f"Nobody would be left to administer {', '.join(sorted(lost))}: "
                "give somebody else that right first.",
                lost=sorted(lost),
            )


def _administered() -> set[str]:
    """Verticals with an active admin, and SUPERUSERS where there is one."""
    admins = VerticalAccess.objects.filter(role=Role.ADMIN, user__is_active=True)
    found = set(admins.values_list("vertical", flat=True))
    if User.objects.filter(is_superuser=True, is_active=True).exists():
        found |= {SUPERUSERS, *(vertical.key for vertical in registry.verticals())}
    return found


# --- accounts and passwords


def create_operator(
    actor: User | None,
    username: str,
    roles: Mapping[str, Role],
    *,
    is_superuser: bool = False,
) -> tuple[User, str]:
    """A new account with a role by vertical, and its one-time password, which is not kept.

    An admin gives roles in the own verticals, at least one; superusers are made by superusers.

    Raises UsernameRefusedError, UsernameTakenError, NotFoundError for an unknown vertical, and
    PermissionRefusedError.
    """
    if actor is not None and is_superuser:
        access.require_superuser(actor)
    if actor is not None and not roles and not access.is_superuser(actor):
        raise PermissionRefusedError("Give the account a role in a vertical that you administer.")
    try:
        User.username_validator(username)
        User._meta.get_field("username").run_validators(username)
    except ValidationError as exc:
        raise UsernameRefusedError(
            f"username {username[:200]!r}: {' '.join(exc.messages)}", username=username[:200]
        ) from None
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with transaction.atomic():
        try:
            with transaction.atomic():
                user = User.objects.create_user(
                    username, password=password, is_superuser=is_superuser
                )
        except IntegrityError:
            raise UsernameTakenError(
                f"An account named {username!r} exists already.", username=username
            ) from None
        OneTimePassword.objects.create(user=user, created_at=clock.now())
        audit.record(actor, "account.created", f"user:{username}", is_superuser=is_superuser)
        for vertical, role in roles.items():
            grant(actor, user, vertical, role)
    return user, password


def must_choose_password(user: User) -> bool:
    """Whether the user's password is a one-time password that was not used yet."""
    return OneTimePassword.objects.filter(user=user).exists()


def replace_password(actor: User | None, user: User) -> str:
    """A new one-time password in place of the user's password; open sessions end.

    Raises NotFoundError and PermissionRefusedError: the actor has no charge of the account; and
    OwnAccountError: whoever finds an open console must not get a password out of it.
    """
    if actor is not None:
        access.require_charge_of(actor, user)
        if actor.pk == user.pk:
            raise OwnAccountError("This is your own account; change its password instead.")
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=["password"])
        OneTimePassword.objects.update_or_create(user=user, defaults={"created_at": clock.now()})
        audit.record(actor, "password.replaced", f"user:{user.username}")
    return password


def choose_password(user: User, password: str, *, one_time: bool) -> None:
    """Give the user a password of their own choice, which was validated. Other sessions end.

    ``user`` is as it was when the old password was given. Raises PasswordUsedError when that
    password was replaced since, or ``one_time`` and somebody has used it already.
    """
    with transaction.atomic():
        # Whoever comes second at the same moment waits here, and finds another password.
        stored = User.objects.select_for_update().values_list("password", flat=True)
        if stored.get(pk=user.pk) != user.password:
            raise PasswordUsedError("The password was replaced meanwhile. Sign in again.")
        count, _ = OneTimePassword.objects.filter(user=user).delete()
        if one_time and not count:
            raise PasswordUsedError("This one-time password was used already. Sign in again.")
        user.set_password(password)
        user.save(update_fields=["password"])
        audit.record(user, "password.chosen", f"user:{user.username}")


# --- sessions


def end_sessions(
    actor: User | None, user: User, *, handle: str | None = None, keep_key: str | None = None
) -> int:
    """Sign the user out everywhere: of one session, or of all but one. How many have ended.

    Raises NotFoundError and PermissionRefusedError: not the own account, and no charge of it.
    """
    if actor is not None and actor.pk != user.pk:
        access.require_charge_of(actor, user)
    ended = [
        session.key
        for session in open_sessions(user)
        if session.key != keep_key and handle in (None, session.handle)
    ]
    if ended:
        with transaction.atomic():
            _drop_sessions(ended)
            audit.record(actor, "sessions.ended", f"user:{user.username}", count=len(ended))
    return len(ended)


def _drop_sessions(keys: Collection[str]) -> None:
    Session.objects.filter(session_key__in=keys).delete()


# --- tokens


def expiry_after(days: int) -> datetime:
    """When a token that lives for so many days expires. Raises TokenRefusedError."""
    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise TokenRefusedError(f"{days} days are not between 1 and {MAX_TOKEN_DAYS}.", path="days")
    return clock.now() + timedelta(days=days)


def create_token(
    actor: User | None,
    user: User,
    name: str,
    *,
    expires_at: datetime | None = None,
    verticals: Collection[str] | None = None,
    role: Role | None = None,
    purpose: Purpose = Purpose.ANYTHING,
) -> tuple[ApiToken, str]:
    """A token that acts as ``user``, and its text, which is shown once and stored as a hash.

    ``verticals`` and ``role`` limit it: None leaves it all that the account has, now and later.
    One for federation is for one vertical that the account administers, and opens nothing else.
    It expires after TOKEN_DAYS unless told otherwise.

    Raises:
        TokenRefusedError: no usable name, or a vertical in which the account has no role.
        PermissionRefusedError: the actor is somebody else, or a token itself: one that leaked
            could make its own successor.
    """
    if actor is not None and (actor.pk != user.pk or access.token_of(actor) is not None):
        raise PermissionRefusedError("Only the account itself makes its tokens, when signed in.")
    _check_token(user, name, verticals)
    if purpose == Purpose.FEDERATION:
        _check_federation(user, verticals, role)
    text = tokens.new_text()
    now = clock.now()
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user,
            name=name,
            digest=tokens.digest(text),
            prefix=text[: tokens.SHOWN],
            created_at=now,
            expires_at=expires_at or now + timedelta(days=TOKEN_DAYS),
            verticals=None if verticals is None else sorted(set(verticals)),
            role=role or "",
            purpose=purpose,
        )
        audit.record(
            actor,
            "token.created",
            f"token:{token.pk}",
            user=user.username,
            name=name,
            expires_at=token.expires_at.isoformat(),
            verticals=token.verticals,
            role=token.role,
            purpose=token.purpose,
        )
    return token, text


def _check_token(user: User, name: str, verticals: Collection[str] | None) -> None:
    if not 1 <= len(name) <= MAX_TOKEN_NAME or not name.isprintable() or name != name.strip():
        raise TokenRefusedError(
            f"The name of a token has 1 to {MAX_TOKEN_NAME} characters that can be printed.",
            path="name",
        )
    if verticals is None:
        return
    if not verticals:
        raise TokenRefusedError("A token for no vertical opens nothing.", path="verticals")
    if wrong := sorted(set(verticals) - access.verticals_of(user)):
        raise TokenRefusedError(
            f"{user.get_username()!r} has no role in {wrong[0]!r}.", path="verticals"
        )


def _check_federation(user: User, verticals: Collection[str] | None, role: Role | None) -> None:
    if verticals is None or len(set(verticals)) != 1 or role is not None:
        raise TokenRefusedError(
            "A token for federation is for one vertical, and has no role: name that vertical alone.",
            path="verticals",
        )
    (vertical,) = set(verticals)
    if vertical not in access.verticals_of(user, Role.ADMIN):
        raise TokenRefusedError(
            f"{user.get_username()!r} is no admin of {vertical!r}, and only an admin's account "
            "answers for a token for federation.",
            path="verticals",
        )


def revoke_token(actor: User | None, token_id: int) -> ApiToken:
    """Make a token worthless from now on. A second time changes nothing.

    Raises NotFoundError: there is none, or none that the actor may revoke. People revoke their
    own, superusers everybody's, and a token itself.
    """
    token = selectors.revocable(actor, token_id)
    with transaction.atomic():
        revoked = ApiToken.objects.filter(pk=token_id, revoked_at=None).update(
            revoked_at=clock.now()
        )
        token.refresh_from_db(fields=["revoked_at"])
        if revoked:
            audit.record(
                actor, "token.revoked", f"token:{token_id}", user=token.user.get_username()
            )
    return token
