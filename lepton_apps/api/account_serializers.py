"""What requests about accounts, tokens and the audit look like, and what OpenAPI says of answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from lepton_apps.accounts.models import Role
from lepton_apps.accounts.services import MAX_TOKEN_DAYS, MAX_TOKEN_NAME, TOKEN_DAYS


class NewTokenSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=MAX_TOKEN_NAME, help_text="what it is for")
    days = serializers.IntegerField(
        min_value=1, max_value=MAX_TOKEN_DAYS, default=TOKEN_DAYS, help_text="until it expires"
    )
    verticals = serializers.ListField(
        child=serializers.CharField(max_length=64),
        allow_null=True,
        default=None,
        help_text="the verticals that it is for; null: all that the account has, now and later",
    )
    role = serializers.ChoiceField(
        choices=Role.values,
        allow_null=True,
        default=None,
        help_text="the strongest role that it may use; null: whatever the account has",
    )


class TokenSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    state = serializers.CharField(help_text="valid, expires soon, expired or revoked")
    verticals = serializers.ListField(child=serializers.CharField(), allow_null=True)
    role = serializers.CharField(allow_null=True)
    purpose = serializers.CharField(
        allow_null=True, help_text="federation: opens that alone; null: what verticals and role let"
    )
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class MadeTokenSerializer(TokenSerializer):
    token = serializers.CharField(help_text="the text, this once")


class TokenListSerializer(serializers.Serializer[Any]):
    results = TokenSerializer(many=True)


class AccountSerializer(serializers.Serializer[Any]):
    username = serializers.CharField()
    is_active = serializers.BooleanField()
    is_superuser = serializers.BooleanField()
    roles = serializers.DictField(child=serializers.CharField(), help_text="by vertical")
    tokens = serializers.IntegerField(help_text="that count now")
    last_sign_in_at = serializers.DateTimeField(allow_null=True)
    must_choose_password = serializers.BooleanField()


class AccountListSerializer(serializers.Serializer[Any]):
    results = AccountSerializer(many=True)


class AuditEntrySerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    person = serializers.CharField()
    action = serializers.CharField()
    target = serializers.CharField()
    vertical = serializers.CharField()
    why = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]  # a field here, as on the wire


class AuditPageSerializer(serializers.Serializer[Any]):
    results = AuditEntrySerializer(many=True)
    next = serializers.CharField(allow_null=True)
