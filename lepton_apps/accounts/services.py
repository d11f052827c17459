"""Every change to accounts, rights and tokens. Each is written down in the audit record."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from lepton_apps.accounts import tokens
from lepton_apps.accounts.models import ApiToken, OneTimePassword, Role, VerticalAccess
from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError, NotFoundError
from lepton_apps.verticals import registry

TOKEN_DAYS = 365
PASSWORD_BYTES = 15  # 20 characters, 120 bits


class PasswordUsedError(LeptonError):
    """A one-time password that has been used or replaced."""

    code: ClassVar[str] = "password_used"
    status: ClassVar[int] = 409


class UsernameTakenError(LeptonError):
    """An account of that name exists already."""

    code: ClassVar[str] = "username_taken"
    status: ClassVar[int] = 409


def account(username: str) -> User:
    """The account of that name. Raises NotFoundError."""
    try:
        return User.objects.get(username=username)
    except User.DoesNotExist:
        raise NotFoundError(f"No account named {username!r}.", username=username) from None


def grant(actor: User | None, user: User, vertical: str, role: Role) -> VerticalAccess:
    """Give the user this role in the vertical, in place of the one held before.

    ``actor`` None means the server itself. Raises NotFoundError for an unknown vertical.
    """
    try:
        registry.vertical(vertical)
    except LookupError as exc:
        raise NotFoundError(str(exc.args[0]), vertical=vertical) from None
    with transaction.atomic():
        held, _ = VerticalAccess.objects.update_or_create(
            user=user, vertical=vertical, defaults={"role": role}
        )
        audit.record(
            actor, "access.granted", f"user:{user.username}", vertical=vertical, role=role.value
        )
    return held


def withdraw(actor: User | None, user: User, vertical: str) -> bool:
    """Take the user's role in the vertical away; open sockets close within FEED_RECHECK_S.

    False when there was none.
    """
    with transaction.atomic():
        count, _ = VerticalAccess.objects.filter(user=user, vertical=vertical).delete()
        if count:
            audit.record(actor, "access.withdrawn", f"user:{user.username}", vertical=vertical)
    return bool(count)


def create_operator(
    actor: User | None,
    username: str,
    roles: Mapping[str, Role],
    *,
    is_superuser: bool = False,
) -> tuple[User, str]:
    """A new account with a role by vertical, and its one-time password, which is not kept.

    Raises UsernameTakenError, and NotFoundError for an unknown vertical.
    """
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
    """A new one-time password in place of the user's password; open sessions end."""
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


def create_token(
    actor: User | None, user: User, name: str, *, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """A token that acts as ``user``, and its text, which is shown once and stored as a hash.

    It expires after TOKEN_DAYS unless told otherwise.
    """
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
        )
        audit.record(
            actor,
            "token.created",
            f"token:{token.pk}",
            user=user.username,
            name=name,
            expires_at=token.expires_at.isoformat(),
        )
    return token, text


def revoke_token(actor: User | None, token_id: int) -> ApiToken:
    """Make a token worthless from now on. A second time changes nothing. Raises NotFoundError."""
    with transaction.atomic():
        revoked = ApiToken.objects.filter(pk=token_id, revoked_at=None).update(
            revoked_at=clock.now()
        )
        token = ApiToken.objects.select_related("user").filter(pk=token_id).first()
        if token is None:
            raise NotFoundError(f"No token {token_id}.", token_id=token_id)
        if revoked:
            audit.record(
                actor, "token.revoked", f"token:{token_id}", user=token.user.get_username()
            )
    return token
