"""The pages. Mounted at the root of the site."""

from __future__ import annotations

from django.urls import path

from lepton_apps.console.views import accounts, alerts, budgets, dead_letters, panels, streams

app_name = "console"

urlpatterns = [
    path("", alerts.alert_list, name="alerts"),
    path("alerts/<int:alert_id>/", alerts.alert_page, name="alert"),
    path("alerts/<int:alert_id>/state/", alerts.alert_state, name="alert-state"),
    path("alerts/<int:alert_id>/acknowledge/", alerts.acknowledge, name="acknowledge"),
    path("alerts/<int:alert_id>/assign/", alerts.assign, name="assign"),
    path("alerts/<int:alert_id>/resolve/", alerts.resolve, name="resolve"),
    path("alerts/<int:alert_id>/label/", alerts.label, name="label"),
    path("streams/", streams.stream_list, name="streams"),
    path("streams/<str:stream>/dead-letters/", dead_letters.letter_list, name="dead-letters"),
    path(
        "streams/<str:stream>/dead-letters/<int:letter_id>/",
        dead_letters.letter_page,
        name="dead-letter",
    ),
    path(
        "streams/<str:stream>/dead-letters/<int:letter_id>/redrive/",
        dead_letters.redrive,
        name="redrive",
    ),
    path(
        "streams/<str:stream>/dead-letters/<int:letter_id>/discard/",
        dead_letters.discard,
        name="discard",
    ),
    path("budgets/", budgets.budget_list, name="budgets"),
    path("budgets/<str:stream>/preview/", budgets.preview, name="budget-preview"),
    path("budgets/<str:stream>/set/", budgets.set_budget, name="set-budget"),
    path("budgets/<str:stream>/clear/", budgets.clear_budget, name="clear-budget"),
    path("panels/<str:vertical>/", panels.panel_page, name="panels"),
    path("nav/", panels.nav, name="nav"),
    path("sign-in/", accounts.SignInView.as_view(), name="sign-in"),
    path("choose-password/", accounts.ChoosePasswordView.as_view(), name="choose-password"),
    path("password/", accounts.change_password, name="password"),
    path("sign-out/", accounts.sign_out, name="sign-out"),
]
