"""What OpenAPI says of answers about federation; ``selectors`` of it builds the dicts."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class FederationLimitsSerializer(serializers.Serializer[Any]):
    min_rows = serializers.IntegerField(help_text="labelled rows, below which nobody trains")
    max_steps = serializers.IntegerField(help_text="of a round")
    max_batch = serializers.IntegerField(help_text="rows of a step")
    max_parameters = serializers.IntegerField(help_text="numbers of the shared model")


class FederationConsentSerializer(serializers.Serializer[Any]):
    act = serializers.CharField(help_text="allowed or stopped")
    at = serializers.DateTimeField()
    by = serializers.CharField()
    why = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)
    private_only = serializers.BooleanField()
    limits = FederationLimitsSerializer(allow_null=True)


class FederationBudgetSerializer(serializers.Serializer[Any]):
    epsilon = serializers.FloatField(allow_null=True, help_text="null: no limit now")
    delta = serializers.FloatField(help_text="at which epsilon is counted")
    spent = serializers.FloatField(help_text="epsilon, by all private rounds that ever were")
    left = serializers.FloatField(allow_null=True)


class FederationRoundSerializer(serializers.Serializer[Any]):
    run = serializers.CharField()
    number = serializers.IntegerField()
    attempt = serializers.IntegerField()
    of = serializers.IntegerField()
    site = serializers.CharField(help_text="as the coordinator calls this site")
    at = serializers.DateTimeField()
    by = serializers.CharField()
    rows = serializers.CharField(help_text="roughly")
    steps = serializers.IntegerField()
    noise = serializers.FloatField(allow_null=True, help_text="null: without privacy")
    sample_rate = serializers.FloatField(allow_null=True)
    spent = serializers.FloatField(allow_null=True, help_text="with all rounds before")


class FederationDetailSerializer(serializers.Serializer[Any]):
    stream = serializers.CharField()
    schema_hash = serializers.CharField()
    open = serializers.BooleanField(help_text="whether a coordinator with a token may train now")
    closed_because = serializers.CharField(allow_null=True)
    consent = FederationConsentSerializer(allow_null=True)
    budget = FederationBudgetSerializer(allow_null=True)
    rounds = serializers.IntegerField()
    rounds_without_privacy = serializers.IntegerField()
    last_round_at = serializers.DateTimeField(allow_null=True)
    newest_rounds = FederationRoundSerializer(many=True)
