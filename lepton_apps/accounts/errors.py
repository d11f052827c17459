"""What accounts, rights and tokens are refused for."""

from __future__ import annotations

from lepton_apps.common.errors import LeptonError


class PasswordUsedError(LeptonError):
    """A one-time password that has been used or replaced."""

    code = "password_used"
    status = 409


class UsernameTakenError(LeptonError):
    """An account of that name exists already."""

    code = "username_taken"
    status = 409


class UsernameRefusedError(LeptonError):
    """A name that no account can have."""

    code = "username_refused"


class LastAdminError(LeptonError):
    """Nobody would be left who administers a vertical, or the server."""

    code = "last_admin"
    status = 409


class OwnAccountError(LeptonError):
    """Nobody disables the account that is signed in."""

    code = "own_account"
    status = 409


class TokenRefusedError(LeptonError):
    """A token that cannot be made so; ``path`` names what is wrong."""

    code = "token_refused"
