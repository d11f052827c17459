"""Django alone, without sockets. The server itself is ``manage.py web`` (asgi.py)."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_apps.settings")

application = get_wsgi_application()
