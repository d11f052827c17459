"""Signing in and out, and choosing a password."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm, SetPasswordForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, RedirectURLMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from lepton_apps.accounts.services import (
    PasswordUsedError,
    choose_password,
    must_choose_password,
)
from lepton_apps.common import clock
from lepton_apps.console import services

CHOOSING: Final = "choosing"  # in the session of somebody who gave a right one-time password
CHOOSE_WITHIN: Final = timedelta(minutes=15)


class SignInView(LoginView):
    """GET and POST /sign-in/. Too many failures answer 429 without looking at the password."""

    template_name = "console/sign_in.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        username = request.POST.get("username", "")
        wait = services.sign_in_wait(username, address_of(request))
        if wait:
            context = self.get_context_data(
                form=AuthenticationForm(request), username=username, wait=wait_text(wait)
            )
            response = self.render_to_response(context, status=429)
            response["Retry-After"] = str(int(wait.total_seconds()) + 1)
            return response
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        services.forget_sign_in_failures(form.cleaned_data["username"], address_of(self.request))
        user = form.get_user()
        if not must_choose_password(user):
            return super().form_valid(form)
        # Nobody is signed in by this password: it opens the next page, for a while.
        session = self.request.session
        session.cycle_key()
        until = clock.now() + CHOOSE_WITHIN
        session[CHOOSING] = [user.pk, user.get_session_auth_hash(), until.isoformat()]
        query = urlencode({"next": self.get_success_url()})
        return redirect(f"{reverse('console:choose-password')}?{query}")

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        username = self.request.POST.get("username", "")
        services.note_sign_in_failure(username, address_of(self.request))
        context = self.get_context_data(form=form, username=username)
        return self.render_to_response(context, status=401)


def wait_text(wait: timedelta) -> str:
    minutes = int(wait.total_seconds() // 60) + 1
    return (
        f"Too many failed attempts. Try again in {minutes} min, or ask an administrator to run "
        "manage.py reset_password."
    )


@method_decorator([sensitive_post_parameters(), never_cache], name="dispatch")
class ChoosePasswordView(RedirectURLMixin, View):
    """GET and POST /choose-password/, for somebody who has just given a one-time password."""

    next_page = "console:alerts"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        user = choosing(request)
        if user is None:
            request.session.pop(CHOOSING, None)
            messages.info(request, "Sign in with your one-time password first.")
            return redirect("console:sign-in")
        form = SetPasswordForm(user, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                choose_password(user, form.cleaned_data["new_password1"], one_time=True)
            except PasswordUsedError as exc:
                messages.error(request, exc.detail)
                return redirect("console:sign-in")
            del request.session[CHOOSING]
            login(request, user, "django.contrib.auth.backends.ModelBackend")
            return redirect(self.get_success_url())
        context = {"form": form, "username": user.username, "next": self.get_success_url()}
        status = 422 if form.is_bound else 200
        return render(request, "console/choose_password.html", context, status=status)


def choosing(request: HttpRequest) -> User | None:
    """Who may choose a password in this session, if the one-time password still stands."""
    try:
        user_id, auth_hash, until = request.session[CHOOSING]
        user = User.objects.filter(pk=user_id, is_active=True).first()
        in_time = clock.now() < datetime.fromisoformat(until)
    except (KeyError, TypeError, ValueError):
        return None
    if user is None or not in_time:
        return None
    return user if constant_time_compare(auth_hash, user.get_session_auth_hash()) else None


@sensitive_post_parameters()
@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def change_password(request: HttpRequest) -> HttpResponse:
    """GET and POST /password/. Guessing the present password is slowed as signing in is."""
    user = cast(User, request.user)
    address = address_of(request)
    form = PasswordChangeForm(user, request.POST if request.method == "POST" else None)
    wait = services.sign_in_wait(user.username, address) if form.is_bound else timedelta(0)
    if wait:
        context = {"form": PasswordChangeForm(user), "wait": wait_text(wait)}
        return render(request, "console/change_password.html", context, status=429)
    if form.is_bound and form.is_valid():
        choose_password(user, form.cleaned_data["new_password1"], one_time=False)
        update_session_auth_hash(request, user)
        messages.success(request, "Your password was changed. Your other sessions have ended.")
        return redirect("console:alerts")
    if "old_password" in form.errors:
        services.note_sign_in_failure(user.username, address)
    status = 422 if form.is_bound else 200
    return render(request, "console/change_password.html", {"form": form}, status=status)


def address_of(request: HttpRequest) -> str:
    """The peer's address, as the web server believes it; headers of strangers are not read."""
    return str(request.META.get("REMOTE_ADDR", ""))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """POST /sign-out/."""
    logout(request)
    return redirect("console:sign-in")
