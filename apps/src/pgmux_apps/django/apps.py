"""The application, which registers its checks when Django has read all settings."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

TAG = "pgmux"


class PgmuxConfig(AppConfig):
    """`INSTALLED_APPS += ["pgmux_apps.django"]`; it has no models."""

    name = "pgmux_apps.django"
    label = "pgmux"  # the last part of the name would be "django"
    verbose_name = "pgmux"

    def ready(self) -> None:
        """Not Tags.database, whose checks run only where `--database` asks for them."""
        from pgmux_apps.django.checks import check_settings

        register(check_settings, TAG)
