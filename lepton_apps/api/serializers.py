"""What requests must look like, and what the OpenAPI document says of answers."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from datetime import datetime
from typing import Any, Final

from rest_framework import serializers

from lepton_apps.api.account_serializers import TokenSerializer
from lepton_apps.api.model_serializers import AlertModelSerializer
from lepton_apps.common import clock
from lepton_apps.streaming.batch import LABEL_AHEAD, is_absurd
from lepton_apps.streaming.budgets.services import MOST_WHY
from lepton_apps.streaming.models import AlertBudget
from lepton_apps.streaming.replay.question import BY

VERDICTS: Final = ("positive", "negative")


class MomentField(serializers.DateTimeField):
    """A time that says its zone. DRF would take a naive one as UTC and be silently wrong."""

    default_error_messages = {
        "naive": "The time has no zone; write it as 2026-03-01T10:00:00Z or with an offset.",
        "absurd_time": "The time is before 1970 or more than a day in the future.",
    }

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            self.fail("naive")
        moment = super().enforce_timezone(value)
        if is_absurd(moment, clock.now(), LABEL_AHEAD):
            self.fail("absurd_time")
        return moment


class VerdictSerializer(serializers.Serializer[Any]):
    """``positive``: it was what the alert says. ``negative``: a false alarm."""

    verdict = serializers.ChoiceField(choices=VERDICTS)


class ResolveSerializer(VerdictSerializer):
    note = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=2000,
        help_text="for the audit record",
    )


class AssignSerializer(serializers.Serializer[Any]):
    assigned_to = serializers.CharField(
        allow_null=True, max_length=150, help_text="a username; null: nobody"
    )


class GivenLabelSerializer(serializers.Serializer[Any]):
    stream = serializers.CharField(max_length=64)
    record_id = serializers.CharField(max_length=200, trim_whitespace=False)
    verdict = serializers.ChoiceField(choices=VERDICTS)
    kind = serializers.CharField(max_length=32, default="verdict")
    labelled_at = MomentField(help_text="when the outside world knew")


class RedriveSerializer(serializers.Serializer[Any]):
    """Nothing, to send the record again as it came; or the edited record in one of two forms."""

    payload = serializers.CharField(
        required=False, trim_whitespace=False, help_text="the edited record as text"
    )
    payload_base64 = serializers.CharField(required=False, help_text="the edited record as bytes")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) > 1:
            raise serializers.ValidationError("Give payload or payload_base64, not both.")
        if "payload_base64" in attrs:
            try:
                return {"bytes": b64decode(attrs["payload_base64"], validate=True)}
            except (Base64Error, ValueError):
                raise serializers.ValidationError(
                    {"payload_base64": "This is not base64."}
                ) from None
        return {"bytes": attrs["payload"].encode() if "payload" in attrs else None}


class AskReplaySerializer(serializers.Serializer[Any]):
    """Stored decisions by ``since``, or the topic by one of the three ``from_`` fields."""

    version = serializers.IntegerField(
        required=False, min_value=1, max_value=2**31 - 1, help_text="the champion unless told"
    )
    thresholds = serializers.DictField(
        child=serializers.FloatField(), required=False, help_text="instead of those in force"
    )
    since = MomentField(required=False)
    until = MomentField(required=False, help_text="exclusive; now unless told")
    by = serializers.ChoiceField(choices=BY, required=False)
    from_offset = serializers.IntegerField(
        required=False, min_value=0, max_value=2**63 - 1, help_text="in every partition"
    )
    from_offsets = serializers.DictField(
        child=serializers.IntegerField(min_value=0, max_value=2**63 - 1),
        required=False,
        help_text="by partition; others are not read",
    )
    from_time = MomentField(required=False, help_text="of messages")
    limit = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(self.initial_data) - set(self.fields)):
            raise serializers.ValidationError({unknown[0][:80]: "There is no such field."})
        for partition in attrs.get("from_offsets", ()):
            if not (partition.isascii() and partition.isdigit() and len(partition) < 10):
                raise serializers.ValidationError(
                    {"from_offsets": f"{partition[:20]!r} is no partition's number."}
                )
        return attrs


class SetBudgetSerializer(serializers.Serializer[Any]):
    """``per_day`` null: no budget, the model's own thresholds hold."""

    kind = serializers.ChoiceField(choices=AlertBudget.Kind.values, default=AlertBudget.Kind.ALERTS)
    per_day = serializers.FloatField(allow_null=True)
    why = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=MOST_WHY,
        help_text="for the audit record",
    )


# Below: answers. They document; the views build the dicts.


class VerticalSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    title = serializers.CharField()
    case_noun = serializers.CharField()
    role = serializers.CharField()


class MeSerializer(serializers.Serializer[Any]):
    username = serializers.CharField()
    is_superuser = serializers.BooleanField()
    verticals = VerticalSerializer(many=True)
    token = TokenSerializer(allow_null=True, help_text="that this request came with")


class PartitionSerializer(serializers.Serializer[Any]):
    partition = serializers.IntegerField()
    next_offset = serializers.IntegerField()
    high_water = serializers.IntegerField()
    lag = serializers.IntegerField()
    watermark = serializers.DateTimeField(allow_null=True)


class StreamSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    vertical = serializers.CharField()
    kind = serializers.CharField()
    topic = serializers.CharField()
    champion = serializers.DictField(allow_null=True)
    lag = serializers.IntegerField(allow_null=True)
    partitions = PartitionSerializer(many=True)
    records_per_s = serializers.FloatField()
    workers = serializers.ListField(child=serializers.DictField())
    dead_letters_new = serializers.IntegerField()
    gaps = serializers.ListField(child=serializers.DictField())
    halt = serializers.DictField(allow_null=True)


class StreamListSerializer(serializers.Serializer[Any]):
    results = StreamSerializer(many=True)


class BudgetSerializer(serializers.Serializer[Any]):
    """What is wanted, what came, and the thresholds that hold."""

    stream = serializers.CharField()
    vertical = serializers.CharField()
    model = serializers.CharField()
    version = serializers.IntegerField(allow_null=True)
    budget = serializers.DictField(allow_null=True)
    kind = serializers.CharField()
    achieved_per_day = serializers.FloatField()
    expected_per_day = serializers.FloatField(allow_null=True)
    rows_per_day = serializers.IntegerField()
    scored_days = serializers.FloatField()
    scores = serializers.IntegerField()
    thresholds = serializers.DictField(child=serializers.FloatField())
    thresholds_because = serializers.CharField()
    thresholds_since = serializers.DateTimeField(allow_null=True)
    note = serializers.CharField()
    days = serializers.ListField(child=serializers.DictField())
    ledger = serializers.ListField(child=serializers.DictField())
    preview = serializers.DictField(required=False)


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField()
    text = serializers.CharField()
    contribution = serializers.FloatField()


class DecisionSerializer(serializers.Serializer[Any]):
    """One record's answer. A list of records is answered by ``{"results": [...]}`` of these."""

    record_id = serializers.CharField()
    decision_id = serializers.UUIDField(allow_null=True)
    entity_key = serializers.CharField()
    score = serializers.FloatField()
    outcome = serializers.CharField()
    severity = serializers.CharField(allow_null=True)
    reasons = ReasonSerializer(many=True)
    model_version = serializers.IntegerField()
    decided_at = serializers.DateTimeField(allow_null=True)
    alert_id = serializers.IntegerField(allow_null=True)
    repeated = serializers.BooleanField()


class AlertSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    vertical = serializers.CharField()
    stream = serializers.CharField()
    entity_key = serializers.CharField()
    reason = serializers.CharField()
    reason_text = serializers.CharField()
    severity = serializers.CharField()
    outcome = serializers.CharField()
    score = serializers.FloatField()
    record_count = serializers.IntegerField()
    title = serializers.CharField()
    status = serializers.CharField()
    assigned_to = serializers.CharField(allow_null=True)
    opened_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    first_occurred_at = serializers.DateTimeField()
    last_occurred_at = serializers.DateTimeField()
    version = serializers.IntegerField()
    model_version = serializers.IntegerField()


class LabelSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    stream = serializers.CharField()
    record_id = serializers.CharField()
    verdict = serializers.CharField()
    kind = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # of Field, not of ours
    labelled_at = serializers.DateTimeField()
    received_at = serializers.DateTimeField()
    by = serializers.CharField(allow_null=True)
    applied_at = serializers.DateTimeField(allow_null=True)


class RecordSerializer(serializers.Serializer[Any]):
    """The decision that opened an alert, with the record as it came."""

    decision_id = serializers.UUIDField()
    decided_at = serializers.DateTimeField()
    record_id = serializers.CharField()
    occurred_at = serializers.DateTimeField()
    score = serializers.FloatField()
    outcome = serializers.CharField()
    payload = serializers.CharField(allow_null=True)
    payload_encoding = serializers.CharField(allow_null=True)


class AlertDetailSerializer(AlertSerializer):
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    acknowledged_by = serializers.CharField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    resolved_by = serializers.CharField(allow_null=True)
    explanation = serializers.ListField(child=serializers.DictField())
    base = serializers.FloatField(allow_null=True, help_text="Log odds of a usual record.")
    log_odds = serializers.FloatField(
        allow_null=True, help_text="Of the record that opened it; all contributions lead here."
    )
    facts = serializers.ListField(child=serializers.ListField(child=serializers.CharField()))
    evidence = serializers.DictField(help_text="What the vertical shows beside it; may be empty.")
    thresholds = serializers.DictField(
        child=serializers.FloatField(), help_text="Those that held at the time of the decision."
    )
    labels = LabelSerializer(many=True)
    model = AlertModelSerializer(allow_null=True, help_text="null where the version has gone")
    decision = RecordSerializer(allow_null=True)


class AlertPageSerializer(serializers.Serializer[Any]):
    results = AlertSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    feed_cursors = serializers.DictField(child=serializers.CharField())


class LabelPageSerializer(serializers.Serializer[Any]):
    results = LabelSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class DeadLetterSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    failed_at = serializers.DateTimeField()
    stream = serializers.CharField()
    topic = serializers.CharField()
    partition = serializers.IntegerField()
    offset = serializers.IntegerField()
    reason = serializers.CharField()
    detail = serializers.CharField()
    path = serializers.CharField(allow_null=True)
    status = serializers.CharField()


class DeadLetterDetailSerializer(DeadLetterSerializer):
    payload = serializers.CharField(allow_null=True)
    payload_encoding = serializers.CharField(allow_null=True)


class DeadLetterPageSerializer(serializers.Serializer[Any]):
    results = DeadLetterSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class ReplaySerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    stream = serializers.CharField()
    state = serializers.CharField()
    stage = serializers.CharField()
    done = serializers.IntegerField()
    total = serializers.IntegerField(help_text="0: not known yet")
    question = serializers.DictField()
    asked_by = serializers.CharField(allow_null=True, help_text="null: by command")
    asked_at = serializers.DateTimeField()
    beat_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class ReplayDetailSerializer(ReplaySerializer):
    result = serializers.DictField(allow_null=True)


class ReplayPageSerializer(serializers.Serializer[Any]):
    results = ReplaySerializer(many=True)
    next = serializers.CharField(allow_null=True)


class ErrorSerializer(serializers.Serializer[Any]):
    """Every error has these two, and what its code says besides."""

    code = serializers.CharField()
    detail = serializers.CharField()
