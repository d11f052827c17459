"""Everything under /api/v1/. Each path answers with and without a slash at its end."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularJSONAPIView

from lepton_apps.api import openapi
from lepton_apps.api.views import (
    accounts,
    alerts,
    audit,
    budgets,
    causes,
    dead_letters,
    decisions,
    federation,
    labels,
    me,
    models,
    replays,
    streams,
)
from lepton_apps.api.views.base import UnknownView
from lepton_apps.api.views.foreign import guarded
from lepton_apps.verticals import registry

View = Callable[..., HttpResponseBase]

VIEWS: dict[str, View] = {
    "me": me.MeView.as_view(),
    "accounts": accounts.AccountsView.as_view(),
    "audit": audit.AuditView.as_view(),
    "audit/export": audit.AuditExportView.as_view(),
    "tokens": accounts.TokensView.as_view(),
    "tokens/<int:token_id>/revoke": accounts.RevokeTokenView.as_view(),
    "schema": SpectacularJSONAPIView.as_view(generator_class=openapi.Generator),
    "streams": streams.StreamsView.as_view(),
    "streams/<str:name>": streams.StreamView.as_view(),
    "streams/<str:name>/score": decisions.ScoreView.as_view(),
    "streams/<str:name>/decisions": decisions.DecisionsView.as_view(),
    "streams/<str:name>/budget": budgets.BudgetView.as_view(),
    "streams/<str:name>/resume": streams.ResumeStreamView.as_view(),
    "streams/<str:name>/replays": replays.AskReplayView.as_view(),
    "replays": replays.ReplaysView.as_view(),
    "replays/<int:run_id>": replays.ReplayView.as_view(),
    "replays/<int:run_id>/cancel": replays.CancelReplayView.as_view(),
    "alerts": alerts.AlertsView.as_view(),
    "alerts/<int:alert_id>": alerts.AlertView.as_view(),
    "alerts/<int:alert_id>/causes": causes.AlertCausesView.as_view(),
    "alerts/<int:alert_id>/acknowledge": alerts.AcknowledgeAlertView.as_view(),
    "alerts/<int:alert_id>/assign": alerts.AssignAlertView.as_view(),
    "alerts/<int:alert_id>/resolve": alerts.ResolveAlertView.as_view(),
    "alerts/<int:alert_id>/label": alerts.LabelAlertView.as_view(),
    "labels": labels.LabelsView.as_view(),
    "models": models.ModelsView.as_view(),
    "models/<str:name>": models.ModelView.as_view(),
    "models/<str:name>/comparison": models.ComparisonView.as_view(),
    "models/<str:name>/drift": models.DriftView.as_view(),
    "models/<str:name>/live": models.LiveModelView.as_view(),
    "models/<str:name>/retraining": models.RetrainingView.as_view(),
    "models/<str:name>/rollback": models.RollBackModelView.as_view(),
    "models/<str:name>/withdraw": models.WithdrawModelView.as_view(),
    "models/<str:name>/versions/<int:number>": models.ModelVersionView.as_view(),
    "models/<str:name>/versions/<int:number>/promote": models.PromoteModelView.as_view(),
    "models/<str:name>/versions/<int:number>/retire": models.RetireModelView.as_view(),
    "federation/<str:stream>": federation.FederationView.as_view(),
    "federation/<str:stream>/join": federation.JoinFederationView.as_view(),
    "federation/<str:stream>/update": federation.UpdateFederationView.as_view(),
    "dead-letters": dead_letters.DeadLettersView.as_view(),
    "dead-letters/<int:dead_letter_id>": dead_letters.DeadLetterView.as_view(),
    "dead-letters/<int:dead_letter_id>/redrive": dead_letters.RedriveDeadLetterView.as_view(),
    "dead-letters/<int:dead_letter_id>/discard": dead_letters.DiscardDeadLetterView.as_view(),
}


def _of_verticals() -> list[URLPattern | URLResolver]:
    """What the verticals bring, under /api/v1/<key>/, for those who may see that vertical."""
    mounted: list[URLPattern | URLResolver] = []
    for vertical in registry.verticals():
        mounted += causes.declaration_urls(vertical)
        if vertical.api_urls:
            patterns: list[Any] = import_module(vertical.api_urls).urlpatterns
            mounted.append(path(f"{vertical.key}/", include(guarded(patterns, vertical.key))))
    return mounted


urlpatterns: list[URLPattern | URLResolver] = [
    *(path(route, view) for route, view in VIEWS.items()),
    *(path(f"{route}/", view) for route, view in VIEWS.items()),
    *_of_verticals(),
    re_path(r"^(?P<path>.*)$", UnknownView.as_view()),
]
