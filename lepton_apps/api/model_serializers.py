"""What requests about models must look like, and what the OpenAPI document says of answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from lepton_apps.model_registry.models import Role


class WhySerializer(serializers.Serializer[Any]):
    why = serializers.CharField(max_length=2000, help_text="for the ledger and the audit record")


class RollBackSerializer(WhySerializer):
    expected = serializers.IntegerField(
        allow_null=True, help_text="the number that is champion now, as the asker saw it"
    )


class WithdrawSerializer(WhySerializer):
    role = serializers.ChoiceField(choices=Role.values, default=Role.CHALLENGER.value)
    expected = serializers.IntegerField(help_text="the number that has the role now")


class PromoteSerializer(WhySerializer):
    role = serializers.ChoiceField(choices=Role.values, default=Role.CHAMPION.value)
    expected = serializers.IntegerField(
        allow_null=True, help_text="the number that has the role now; null: nobody"
    )
    below_baseline = serializers.BooleanField(
        default=False, help_text="also when a simpler method did better on the same rows"
    )


# Below: answers. They document; lepton_apps/model_registry/summary.py builds the dicts.


class LedgerLineSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    role = serializers.CharField()
    act = serializers.CharField()
    version = serializers.IntegerField(allow_null=True)
    sequence = serializers.IntegerField()
    at = serializers.DateTimeField()
    by = serializers.CharField()
    why = serializers.CharField()


class VersionSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    roles = serializers.ListField(child=serializers.CharField())
    retired = serializers.BooleanField()
    fits = serializers.BooleanField()
    schema_hash = serializers.CharField()
    recipe = serializers.CharField()
    data_hash = serializers.CharField()
    code_version = serializers.CharField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    metrics = serializers.DictField(child=serializers.FloatField(allow_null=True))
    baseline = serializers.DictField(child=serializers.DictField())


class ModelFileSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    sha256 = serializers.CharField()
    size = serializers.IntegerField()


class RetirementSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    by = serializers.CharField()
    why = serializers.CharField()


class VersionDetailSerializer(VersionSerializer):
    model = serializers.CharField()
    stream = serializers.CharField()
    manifest = serializers.DictField()
    files = ModelFileSerializer(many=True)
    ledger = LedgerLineSerializer(many=True)
    retirement = RetirementSerializer(allow_null=True)


class ModelSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    vertical = serializers.CharField()
    stream = serializers.CharField()
    schema_hash = serializers.CharField(help_text="of the features that the stream extracts today")
    champion = VersionSerializer(allow_null=True)
    challenger = VersionSerializer(allow_null=True)
    versions = VersionSerializer(many=True)


class ModelListSerializer(serializers.Serializer[Any]):
    results = ModelSerializer(many=True)


class ModelDetailSerializer(ModelSerializer):
    ledger = LedgerLineSerializer(many=True)


class LiveSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    role = serializers.CharField()
    at = serializers.DateTimeField()
    version = VersionSerializer(allow_null=True)
    line = LedgerLineSerializer(allow_null=True)
    until = serializers.DateTimeField(allow_null=True)


class DifferentRowSerializer(serializers.Serializer[Any]):
    decision = serializers.UUIDField()
    decided_at = serializers.DateTimeField()
    score = serializers.FloatField()
    other_score = serializers.FloatField()
    outcome = serializers.CharField()
    other_outcome = serializers.CharField()


class ComparisonSerializer(serializers.Serializer[Any]):
    """A challenger beside the champion, on the rows that both decided."""

    model = serializers.CharField()
    stream = serializers.CharField()
    champion = serializers.IntegerField()
    challenger = serializers.IntegerField()
    since = serializers.DateTimeField()
    rows = serializers.IntegerField()
    outcomes = serializers.ListField(child=serializers.CharField())
    matrix = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()),
        help_text="a line for each outcome of the champion, a column for each of the challenger",
    )
    agreed = serializers.IntegerField()
    champion_loud_per_day = serializers.FloatField(allow_null=True)
    challenger_loud_per_day = serializers.FloatField(allow_null=True)
    mean_difference = serializers.FloatField(allow_null=True)
    mean_difference_interval = serializers.ListField(
        child=serializers.FloatField(), allow_null=True
    )
    only_champion_right = serializers.IntegerField()
    only_challenger_right = serializers.IntegerField()
    p_value = serializers.FloatField(allow_null=True)
    advice = serializers.CharField()
    different = DifferentRowSerializer(many=True)


class DriftReviewSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    version = serializers.IntegerField()
    since = serializers.DateTimeField()
    rows = serializers.IntegerField()
    verdict = serializers.CharField(help_text="none, some, much, too_few or no_reference")
    score_psi = serializers.FloatField(allow_null=True)
    features = serializers.ListField(help_text="pairs of a feature and its PSI, the furthest first")
    alert = serializers.IntegerField(allow_null=True)


class DriftSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    stream = serializers.CharField()
    reviews = DriftReviewSerializer(many=True)


class PolicySerializer(serializers.Serializer[Any]):
    recipe = serializers.CharField()
    every_days = serializers.FloatField(allow_null=True)
    on_drift = serializers.BooleanField()
    span = serializers.CharField()
    then = serializers.CharField()
    set_at = serializers.DateTimeField()
    set_by = serializers.CharField(allow_null=True)
    why = serializers.CharField()


class TrainingRunSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    recipe = serializers.CharField()
    cause = serializers.CharField(help_text="schedule or drift")
    state = serializers.CharField(help_text="running, done, failed or interrupted")
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    version = serializers.IntegerField(allow_null=True)
    became = serializers.CharField(help_text="candidate, challenger or champion")
    comparison = serializers.DictField()
    error = serializers.CharField()


class RetrainingSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    policies = PolicySerializer(many=True)
    runs = TrainingRunSerializer(many=True)


class SetPolicySerializer(serializers.Serializer[Any]):
    recipe = serializers.CharField(max_length=200)
    every_days = serializers.FloatField(allow_null=True, default=None)
    on_drift = serializers.BooleanField(default=False)
    span = serializers.CharField(max_length=100, default="90d")
    then = serializers.CharField(max_length=32, default="propose")
    why = serializers.CharField(max_length=500, allow_blank=True, default="")


class AlertRecipeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    settings = serializers.DictField()


class AlertModelSerializer(serializers.Serializer[Any]):
    """The version that decided, and what made it."""

    name = serializers.CharField()
    version = serializers.IntegerField()
    recipe = AlertRecipeSerializer()
    data_hash = serializers.CharField()
    code_version = serializers.CharField()
    schema_hash = serializers.CharField()
    champion_then = serializers.IntegerField(allow_null=True)
