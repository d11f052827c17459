"""Models: their versions, who has which role and who had it, and what admins do about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role as Right
from lepton_apps.api.model_serializers import (
    ComparisonSerializer,
    DriftSerializer,
    LedgerLineSerializer,
    LiveSerializer,
    ModelDetailSerializer,
    ModelListSerializer,
    PromoteSerializer,
    RetrainingSerializer,
    RollBackSerializer,
    SetPolicySerializer,
    VersionDetailSerializer,
    WhySerializer,
    WithdrawSerializer,
)
from lepton_apps.api.views.base import LeptonView, limit_of, query_of, refused, user_of
from lepton_apps.common import clock
from lepton_apps.common.errors import NotFoundError
from lepton_apps.model_registry import selectors, services, summary
from lepton_apps.model_registry.models import Role
from lepton_apps.streaming.drift import selectors as drift
from lepton_apps.streaming.retraining import selectors as retraining
from lepton_apps.streaming.retraining import services as retrain
from lepton_apps.streaming.shadow.selectors import comparison
from lepton_apps.verticals.contract import TrainingRecipe

WEEK: Final = timedelta(days=7)
LIVE_FILTERS: Final = {
    "at": "the moment, with its zone; now unless told",
    "role": f"one of {', '.join(Role.values)}; champion unless told",
}


def require_model(request: Request, name: str, right: Right) -> selectors.Model:
    """The model, if the asker has that right in its vertical.

    Raises:
        NotFoundError: there is none, or it is in a vertical the asker may not see.
        PermissionRefusedError: the asker may see it and not do that.
    """
    try:
        model = selectors.model(name)
        access.require(user_of(request), model.vertical.key, right)
    except NotFoundError:
        # The same words whether it does not exist or may not be seen.
        raise NotFoundError(f"There is no model {name!r}.", model=name) from None
    return model


class ModelsView(LeptonView):
    """GET /api/v1/models: every model of the verticals that the asker may see."""

    @extend_schema(operation_id="models_list", responses=ModelListSerializer)
    def get(self, request: Request) -> Response:
        return Response({"results": summary.model_list(access.verticals_of(user_of(request)))})


class ModelView(LeptonView):
    """GET /api/v1/models/{name}: its newest versions, and the newest lines of its ledger."""

    @extend_schema(
        parameters=[OpenApiParameter("limit", description="versions, 1 to 200; 50 unless told")],
        responses=ModelDetailSerializer,
    )
    def get(self, request: Request, name: str) -> Response:
        model = require_model(request, name, Right.VIEWER)
        limit = limit_of(query_of(request, frozenset({"limit"})))
        holders = selectors.holders([name])[name]
        return Response(
            {
                **summary.model_summary(model, selectors.versions(name, limit), holders),
                "ledger": [summary.line(change) for change in selectors.history(name)],
            }
        )


class ModelVersionView(LeptonView):
    """GET /api/v1/models/{name}/versions/{number}: manifest, files, roles and their history."""

    @extend_schema(responses=VersionDetailSerializer)
    def get(self, request: Request, name: str, number: int) -> Response:
        require_model(request, name, Right.VIEWER)
        return Response(summary.version_detail(selectors.version(name, number)))


class LiveModelView(LeptonView):
    """GET /api/v1/models/{name}/live?at=: which version had a role at a moment."""

    @extend_schema(
        parameters=[OpenApiParameter(name, description=t) for name, t in LIVE_FILTERS.items()],
        responses=LiveSerializer,
    )
    def get(self, request: Request, name: str) -> Response:
        require_model(request, name, Right.VIEWER)
        query = query_of(request, frozenset(LIVE_FILTERS))
        role = query.get("role", "") or Role.CHAMPION.value
        if role not in Role.values:
            listed = ", ".join(Role.values)
            raise refused("role", f"{role[:80]!r} is not one of {listed}.")
        return Response(summary.live(name, role, _moment(query, "at") or clock.now()))


class ComparisonView(LeptonView):
    """GET /api/v1/models/{name}/comparison?since=: the challenger beside the champion, live."""

    @extend_schema(
        parameters=[OpenApiParameter("since", description="a time with its zone; a week ago")],
        responses=ComparisonSerializer,
    )
    def get(self, request: Request, name: str) -> Response:
        require_model(request, name, Right.VIEWER)
        query = query_of(request, frozenset({"since"}))
        since = _moment(query, "since") or clock.now() - WEEK
        return Response(comparison(name, since))


class DriftView(LeptonView):
    """GET /api/v1/models/{name}/drift: the newest looks at how far its rows have moved."""

    @extend_schema(
        parameters=[OpenApiParameter("limit", description="reviews, 1 to 200; 50 unless told")],
        responses=DriftSerializer,
    )
    def get(self, request: Request, name: str) -> Response:
        stream = require_model(request, name, Right.VIEWER).stream.name
        found = drift.reviews(stream, limit_of(query_of(request, frozenset({"limit"}))))
        told = [drift.told(review) for review in found]
        return Response({"model": name, "stream": stream, "reviews": told})


class RetrainingView(LeptonView):
    """GET, PUT /api/v1/models/{name}/retraining: when its recipes are run again. PUT for admins."""

    @extend_schema(operation_id="models_retraining", responses=RetrainingSerializer)
    def get(self, request: Request, name: str) -> Response:
        return Response(_retraining(require_model(request, name, Right.VIEWER)))

    @extend_schema(request=SetPolicySerializer, responses=RetrainingSerializer)
    def put(self, request: Request, name: str) -> Response:
        model = require_model(request, name, Right.ADMIN)
        asked = _valid(SetPolicySerializer(data=request.data))
        if asked["recipe"] not in {r.name for r in _recipes(model)}:
            raise refused("recipe", f"{asked['recipe'][:80]!r} is no recipe of {name}.")
        retrain.set_policy(asked.pop("recipe"), user_of(request), data=asked.pop("span"), **asked)
        return Response(_retraining(model))


def _recipes(model: selectors.Model) -> list[TrainingRecipe]:
    return [recipe for recipe in model.vertical.recipes if recipe.stream == model.stream.name]


def _retraining(model: selectors.Model) -> dict[str, Any]:
    own = {recipe.name for recipe in _recipes(model)}
    held = [policy for policy in retraining.policies() if policy.recipe in own]
    return {
        "model": model.name,
        "policies": [retraining.told_policy(policy) for policy in held],
        "runs": [retraining.told_run(run) for run in retraining.runs(stream=model.stream.name)],
    }


class PromoteModelView(LeptonView):
    """POST /api/v1/models/{name}/versions/{number}/promote. For admins."""

    @extend_schema(request=PromoteSerializer, responses=LedgerLineSerializer)
    def post(self, request: Request, name: str, number: int) -> Response:
        require_model(request, name, Right.ADMIN)
        asked = _valid(PromoteSerializer(data=request.data))
        change = services.promote(
            selectors.version(name, number),
            asked["role"],
            user_of(request),
            asked["why"],
            expected=asked["expected"],
            below_baseline=asked["below_baseline"],
        )
        return Response(summary.line(change))


class RollBackModelView(LeptonView):
    """POST /api/v1/models/{name}/rollback: to the champion before the present one. For admins."""

    @extend_schema(request=RollBackSerializer, responses=LedgerLineSerializer)
    def post(self, request: Request, name: str) -> Response:
        require_model(request, name, Right.ADMIN)
        asked = _valid(RollBackSerializer(data=request.data))
        change = services.rollback(name, user_of(request), asked["why"], expected=asked["expected"])
        return Response(summary.line(change))


class WithdrawModelView(LeptonView):
    """POST /api/v1/models/{name}/withdraw: nobody is challenger any more. For admins."""

    @extend_schema(request=WithdrawSerializer, responses=LedgerLineSerializer)
    def post(self, request: Request, name: str) -> Response:
        require_model(request, name, Right.ADMIN)
        asked = _valid(WithdrawSerializer(data=request.data))
        change = services.withdraw(
            name, asked["role"], user_of(request), asked["why"], expected=asked["expected"]
        )
        return Response(summary.line(change))


class RetireModelView(LeptonView):
    """POST /api/v1/models/{name}/versions/{number}/retire: it takes no role again. For admins."""

    @extend_schema(request=WhySerializer, responses=VersionDetailSerializer)
    def post(self, request: Request, name: str, number: int) -> Response:
        require_model(request, name, Right.ADMIN)
        asked = _valid(WhySerializer(data=request.data))
        services.retire(selectors.version(name, number), user_of(request), asked["why"])
        return Response(summary.version_detail(selectors.version(name, number)))


def _valid(serializer: Serializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not 1970 <= at.year <= 9998:
        raise refused(name, f"{text[:80]!r} is not a time with a zone, as 2026-03-01T10:00:00Z is.")
    return at
