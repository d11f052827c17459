"""Signing in and out, and choosing a password."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, RedirectURLMixin
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import constant_time_compare, get_random_string
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from lepton_apps.accounts.errors import PasswordUsedError
from lepton_apps.accounts.services import choose_password, must_choose_password
from lepton_apps.accounts.sessions import SIGNED_IN, place
from lepton_apps.common import clock
from lepton_apps.console import services
from lepton_apps.console.forms import ChangePasswordForm, ChoosePasswordForm

CHOOSING: Final = "choosing"  # in the session of somebody who gave a right one-time password
CHOOSE_WITHIN: Final = timedelta(minutes=15)
KNOWN_COOKIE: Final = f"{settings.COOKIE_PREFIX}known_browser"
KNOWN_FOR: Final = timedelta(days=90)


@method_decorator(require_http_methods(["GET", "HEAD", "POST"]), name="dispatch")
class SignInView(LoginView):
    """GET and POST /sign-in/. Too many failures answer 429 without looking at the password."""

    template_name = "console/sign_in.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        username = request.POST.get("username", "")
        wait = services.sign_in_wait(username, origin_of(request, username))
        if wait:
            context = self.get_context_data(
                form=AuthenticationForm(request), username=username, wait=wait_text(wait)
            )
            return retry_after(wait, self.render_to_response(context, status=429))
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        services.forget_sign_in_failures(user.username, origin_of(self.request, user.username))
        if not must_choose_password(user):
            self.request.session.pop(CHOOSING, None)
            response = super().form_valid(form)
            note_place(self.request)
            return known_from_now_on(response, user)
        # Nobody is signed in by this password: it opens the next page, for a while.
        session = self.request.session
        session.cycle_key()
        until = clock.now() + CHOOSE_WITHIN
        session[CHOOSING] = [user.pk, user.get_session_auth_hash(), until.isoformat()]
        query = urlencode({"next": self.get_success_url()})
        return redirect(f"{reverse('console:choose-password')}?{query}")

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        username = self.request.POST.get("username", "")
        services.note_sign_in_failure(username, origin_of(self.request, username))
        context = self.get_context_data(form=form, username=username)
        return self.render_to_response(context, status=401)


def wait_text(wait: timedelta) -> str:
    minutes = int(wait.total_seconds() // 60) + 1
    return (
        f"Too many failed attempts. Try again in {minutes} min, or ask an administrator to run "
        "manage.py reset_password."
    )


@method_decorator(
    [require_http_methods(["GET", "HEAD", "POST"]), sensitive_post_parameters(), never_cache],
    name="dispatch",
)
class ChoosePasswordView(RedirectURLMixin, View):
    """GET and POST /choose-password/, for somebody who has just given a one-time password."""

    next_page = "console:alerts"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.user.is_authenticated:
            return redirect("console:password")
        user = choosing(request)
        if user is None:
            request.session.pop(CHOOSING, None)
            messages.info(request, "Sign in with your one-time password first.")
            return redirect("console:sign-in")
        form = ChoosePasswordForm(user, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                choose_password(user, form.cleaned_data["new_password1"], one_time=True)
            except PasswordUsedError as exc:
                messages.error(request, exc.detail)
                return redirect("console:sign-in")
            del request.session[CHOOSING]
            login(request, user, "django.contrib.auth.backends.ModelBackend")
            note_place(request)
            return known_from_now_on(redirect(self.get_success_url()), user)
        context = {"form": form, "username": user.username, "next": self.get_success_url()}
        status = 422 if form.is_bound else 200
        return render(request, "console/choose_password.html", context, status=status)


def note_place(request: HttpRequest) -> None:
    """Let the new session remember where it began, for its person to recognise it by."""
    address, browser = request.META.get("REMOTE_ADDR", ""), request.headers.get("User-Agent", "")
    request.session[SIGNED_IN] = place(address, browser)


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
    origin = origin_of(request, user.username)
    form = ChangePasswordForm(user, request.POST if request.method == "POST" else None)
    wait = services.sign_in_wait(user.username, origin) if form.is_bound else timedelta(0)
    if wait:
        context = {"form": ChangePasswordForm(user), "wait": wait_text(wait)}
        answer = render(request, "console/change_password.html", context, status=429)
        return retry_after(wait, answer)
    if form.is_bound and form.is_valid():
        try:
            choose_password(user, form.cleaned_data["new_password1"], one_time=False)
        except PasswordUsedError as exc:
            messages.error(request, exc.detail)
            return redirect("console:sign-in")
        services.forget_sign_in_failures(user.username, origin)
        update_session_auth_hash(request, user)
        messages.success(request, "Your password was changed. Your other sessions have ended.")
        return redirect("console:alerts")
    if "old_password" in form.errors:
        services.note_sign_in_failure(user.username, origin)
    status = 422 if form.is_bound else 200
    return render(request, "console/change_password.html", {"form": form}, status=status)


def origin_of(request: HttpRequest, username: str) -> str:
    """Where an attempt counts: the browser that is known for that name, else the peer's address.

    The address is what the web server believes; headers of strangers are not read.
    """
    try:
        number, name = signing.loads(
            request.COOKIES.get(KNOWN_COOKIE, ""), salt=KNOWN_COOKIE, max_age=KNOWN_FOR
        )
    except signing.BadSignature:
        name = None
    if name is not None and name == username.strip():
        return f"{services.KNOWN_BROWSER}{number}"
    return str(request.META.get("REMOTE_ADDR", ""))


def known_from_now_on(response: HttpResponse, user: User) -> HttpResponse:
    """Let the browser keep who signed in, so that no failures of others shut that person out."""
    response.set_cookie(
        KNOWN_COOKIE,
        signing.dumps([get_random_string(22), user.username], salt=KNOWN_COOKIE),
        max_age=KNOWN_FOR,
        path=reverse("console:alerts"),
        secure=settings.SECURE_COOKIES,
        httponly=True,
        samesite="Lax",
    )
    return response


def retry_after(wait: timedelta, response: HttpResponse) -> HttpResponse:
    response["Retry-After"] = str(int(wait.total_seconds()) + 1)
    return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """POST /sign-out/."""
    logout(request)
    return redirect("console:sign-in")
