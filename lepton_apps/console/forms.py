"""What a new password has to be, beside Django's validators: another one than the present."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from django.contrib.auth.models import User

FIELD = "new_password1"  # where the reason of a refusal is shown


class ChoosePasswordForm(SetPasswordForm):  # type: ignore[type-arg]  # generic in stubs alone
    """In place of the one-time password that was given just now."""

    def validate_password_for_user(self, user: User, *_: Any) -> None:
        super().validate_password_for_user(user, FIELD)
        password = self.cleaned_data.get(FIELD)
        if password and user.check_password(password):
            self.add_error(FIELD, "This is the one-time password. It serves once; choose another.")


class ChangePasswordForm(PasswordChangeForm):
    """In place of the present password, which has to be given again."""

    def validate_password_for_user(self, user: User, *_: Any) -> None:
        super().validate_password_for_user(user, FIELD)
        password = self.cleaned_data.get(FIELD)
        # Compared with what was given, not with what is stored: no way to guess that is not counted.
        if password and password == self.cleaned_data.get("old_password"):
            self.add_error(FIELD, "This is the present password. Choose another.")
