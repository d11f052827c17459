"""What the OpenAPI document says of origins of alerts."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class NeighbourSerializer(serializers.Serializer[Any]):
    """Another alert of that entity, near in time."""

    id = serializers.IntegerField()
    stream = serializers.CharField()
    entity_key = serializers.CharField()
    title = serializers.CharField()
    reason = serializers.CharField()
    severity = serializers.CharField()
    status = serializers.CharField()
    first_at = serializers.DateTimeField()


class OriginSerializer(serializers.Serializer[Any]):
    entity_key = serializers.CharField()
    sentence = serializers.CharField()
    score = serializers.FloatField(help_text="larger is likelier; compares origins of one alert")
    way = serializers.ListField(child=serializers.CharField())
    began = serializers.DateTimeField(allow_null=True)
    numbers = serializers.DictField(child=serializers.FloatField())
    alerts = NeighbourSerializer(many=True)


class AdviceSerializer(serializers.Serializer[Any]):
    title = serializers.CharField()
    because = serializers.CharField()
    look = serializers.ListField(child=serializers.CharField())
    help = serializers.ListField(child=serializers.CharField())
    check = serializers.ListField(child=serializers.CharField())


class InsightSerializer(serializers.Serializer[Any]):
    """Evidence for people, likeliest first; nothing acts upon it."""

    alert_id = serializers.IntegerField()
    supported = serializers.BooleanField(help_text="whether the vertical looks for origins at all")
    summary = serializers.CharField()
    origins = OriginSerializer(many=True)
    suggested_steps = AdviceSerializer(many=True)
    notes = serializers.ListField(child=serializers.CharField())
