"""The pages. Mounted at the root of the site."""

from __future__ import annotations

from django.urls import path

from lepton_apps.console.views import (
    accounts,
    alerts,
    audit,
    budgets,
    dead_letters,
    models,
    overview,
    own_account,
    panels,
    people,
    records,
    replays,
    saved_views,
    streams,
    together,
)

app_name = "console"

urlpatterns = [
    path("", alerts.alert_list, name="alerts"),
    path("overview/", overview.overview_page, name="overview"),
    path("records/<uuid:decision_id>/", records.record_page, name="record"),
    path("views/", saved_views.save, name="save-view"),
    path("views/<int:view_id>/delete/", saved_views.delete, name="delete-view"),
    path("alerts/", alerts.old_list),
    path("alerts/together/", together.settle, name="together"),
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
    path(
        "streams/<str:stream>/dead-letters/settle/",
        dead_letters.settle_many,
        name="settle-letters",
    ),
    path("replay/", replays.replay_list, name="replays"),
    path("replay/start/", replays.start, name="replay-start"),
    path("replay/<int:run_id>/", replays.replay_page, name="replay"),
    path("replay/<int:run_id>/cancel/", replays.cancel, name="replay-cancel"),
    path("models/", models.model_list, name="models"),
    path("models/<str:model>/<int:number>/", models.version_page, name="model-version"),
    path(
        "models/<str:model>/<int:number>/confirm/<str:verb>/", models.confirm, name="model-confirm"
    ),
    path("models/<str:model>/<int:number>/promote/", models.promote, name="model-promote"),
    path("models/<str:model>/<int:number>/rollback/", models.rollback, name="model-rollback"),
    path("models/<str:model>/<int:number>/withdraw/", models.withdraw, name="model-withdraw"),
    path("models/<str:model>/<int:number>/retire/", models.retire, name="model-retire"),
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
    path("account/", own_account.account_page, name="account"),
    path("account/tokens/", own_account.create_token, name="create-token"),
    path("account/tokens/<int:token_id>/revoke/", own_account.revoke_token, name="revoke-token"),
    path("account/sessions/end/", own_account.end_sessions, name="end-sessions"),
    path("accounts/", people.people_page, name="people"),
    path("accounts/<str:username>/", people.person_page, name="person"),
    path("accounts/<str:username>/role/", people.change_role, name="change-role"),
    path("accounts/<str:username>/password/", people.reset_password, name="reset-password"),
    path("accounts/<str:username>/active/", people.change_active, name="change-active"),
    path("accounts/<str:username>/superuser/", people.change_superuser, name="change-superuser"),
    path("accounts/<str:username>/sessions/end/", people.end_sessions, name="end-all-sessions"),
    path(
        "accounts/<str:username>/tokens/<int:token_id>/revoke/",
        people.revoke_token,
        name="revoke-their-token",
    ),
    path("audit/", audit.audit_page, name="audit"),
]
