"""The product's settings with a second vertical beside the first, as any installation may have."""

from __future__ import annotations

from lepton_apps.settings import *  # noqa: F403
from lepton_apps.settings import INSTALLED_APPS as PRODUCT_APPS

INSTALLED_APPS = [*PRODUCT_APPS, "tests.weather"]

# Signing in is tested often; how slow a hash is is not.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
