"""Signing in and out."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import logout
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from lepton_apps.console import services


class SignInView(LoginView):
    """GET and POST /sign-in/. Too many failures answer 429 without looking at the password."""

    template_name = "console/sign_in.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        username = request.POST.get("username", "")
        wait = services.sign_in_wait(username, address_of(request))
        if wait:
            minutes = int(wait.total_seconds() // 60) + 1
            context = self.get_context_data(
                form=AuthenticationForm(request),
                username=username,
                wait=f"Too many failed attempts. Try again in {minutes} min, or ask an "
                "administrator to set a new password.",
            )
            response = self.render_to_response(context, status=429)
            response["Retry-After"] = str(int(wait.total_seconds()) + 1)
            return response
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        services.forget_sign_in_failures(form.cleaned_data["username"], address_of(self.request))
        return super().form_valid(form)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        username = self.request.POST.get("username", "")
        services.note_sign_in_failure(username, address_of(self.request))
        context = self.get_context_data(form=form, username=username)
        return self.render_to_response(context, status=401)


def address_of(request: HttpRequest) -> str:
    """The peer's address, as the web server believes it; headers of strangers are not read."""
    return str(request.META.get("REMOTE_ADDR", ""))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """POST /sign-out/."""
    logout(request)
    return redirect("console:sign-in")
