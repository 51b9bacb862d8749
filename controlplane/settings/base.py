"""Values for every installation; production is this file and ``GATEHOUSE_*`` variables."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from controlplane.settings import environment

BASE_DIR = Path(__file__).resolve().parent.parent.parent
DATA_DIR = Path(environment.text("GATEHOUSE_DATA_DIR", str(BASE_DIR / ".gatehouse" / "data")))
BLOB_DIR = DATA_DIR / "blobs"
JOB_DIR = DATA_DIR / "jobs"
ENVIRONMENT_DIR = DATA_DIR / "environments"

SECRET_KEY = environment.text("GATEHOUSE_SECRET_KEY")
DEBUG = False
PUBLIC_URL = environment.text("GATEHOUSE_PUBLIC_URL", "http://127.0.0.1:8000")
GATEWAY_URL = environment.text("GATEHOUSE_GATEWAY_URL", "http://127.0.0.1:8100")
# The address at which a sandboxed job reaches the MLflow door (through its relay).
INTERNAL_URL = environment.text("GATEHOUSE_INTERNAL_URL", PUBLIC_URL)
_IS_HTTPS = PUBLIC_URL.startswith("https://")
ALLOWED_HOSTS = environment.words("GATEHOUSE_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "controlplane.access.admin_config.GatehouseAdminConfig",
    "guardian",
    "rest_framework",
    "drf_spectacular",
    "django_htmx",
    "controlplane.database.apps.DatabaseConfig",
    "controlplane.core.apps.CoreConfig",
    "controlplane.accounts.apps.AccountsConfig",
    "controlplane.audit.apps.AuditConfig",
    "controlplane.access.apps.AccessConfig",
    "controlplane.outbox.apps.OutboxConfig",
    "controlplane.jobs.apps.JobsConfig",
    "controlplane.api.apps.ApiConfig",
    "registry.apps.RegistryConfig",
    "experiments.apps.ExperimentsConfig",
    "deployments.apps.DeploymentsConfig",
    "monitoring.apps.MonitoringConfig",
    "frontend.apps.FrontendConfig",
    "controlplane.apps.ControlplaneConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "controlplane.api.middleware.RequestIdentityMiddleware",
    "frontend.middleware.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "controlplane.accounts.middleware.SessionActorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "frontend.middleware.DomainErrorMiddleware",
]

ROOT_URLCONF = "controlplane.urls"
WSGI_APPLICATION = "controlplane.wsgi.application"
ASGI_APPLICATION = "controlplane.asgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "frontend" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "frontend.context.shell",
            ],
            "builtins": ["frontend.templatetags.ui"],
        },
    }
]

DATABASE_URL = environment.text("DATABASE_URL")
_ROLE_URLS = {
    role: environment.text(f"GATEHOUSE_{role.upper()}_DATABASE_URL", "")
    for role in ("migrate", "sealer", "auditor", "eraser", "node")
}


def database_of(role: str) -> dict[str, Any]:
    """Return the connection of one database role: its own login, or ours with ``-c role=``."""
    if _ROLE_URLS[role]:
        return environment.database(_ROLE_URLS[role])
    return environment.database(DATABASE_URL, role=f"gh_{role}")


def database_of_application() -> dict[str, Any]:
    """Return the application's connection; a login of another name takes its role on."""
    own = environment.database(DATABASE_URL)
    return own if own["USER"] == "gh_app" else environment.database(DATABASE_URL, role="gh_app")


# `ledger` is the same login in a connection of its own: a refusal recorded through it survives
# the rollback of the transaction that was refused.
DATABASES = {
    "default": database_of_application(),
    "ledger": database_of_application(),
    "migrate": database_of("migrate"),
}
# For the few that talk to PostgreSQL as a role of their own, without Django's connections.
ROLE_DATABASES = {role: database_of(role) for role in _ROLE_URLS}
DATABASE_ROUTERS: list[str] = []
ATOMIC_REQUESTS = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = environment.text("REDIS_URL")
_CELERY_REDIS_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "gatehouse",
    }
}

CELERY_BROKER_URL = _CELERY_REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ACKS_LATE = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A worker waits for its broker for ever; whoever sends a hint does not wait for it at all,
# because the scheduler gives the hint again.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
    "socket_connect_timeout": 3,
}
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
ANONYMOUS_USER_NAME = None
GUARDIAN_MONKEY_PATCH_USER = False
# guardian's backend would answer `user.has_perm`, which nothing here may ask: `access.can` decides.
SILENCED_SYSTEM_CHECKS = ["guardian.W001"]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"

SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = _IS_HTTPS
SESSION_COOKIE_NAME = "__Host-gatehouse" if _IS_HTTPS else "gatehouse"
SESSION_IDLE_SECONDS = environment.integer("GATEHOUSE_SESSION_IDLE_SECONDS", 1800)
CSRF_COOKIE_SECURE = _IS_HTTPS
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "frontend.views.errors.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if _IS_HTTPS else 0
X_FRAME_OPTIONS = "DENY"

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "frontend" / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "frontend.storage.StaticFiles"},
}

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["controlplane.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["controlplane.api.permissions.DenyByDefault"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "controlplane.api.pagination.NewestFirst",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "controlplane.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Gatehouse",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "COMPONENT_SPLIT_REQUEST": True,
    # Fields of one name with different choices: each set of choices has a name that says which.
    "ENUM_NAME_OVERRIDES": {
        "RiskTierEnum": "registry.models.Model.RiskTier",
        "EventOutcomeEnum": ["success", "refused", "failed"],
        "UserKindEnum": "controlplane.accounts.models.User.Kind",
        "TokenKindEnum": "controlplane.accounts.models.ApiToken.Kind",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "controlplane.api.schema.add_problems",
    ],
}

# Jobs (decisions on leases are taken in PostgreSQL; these are its limits).
JOB_LEASE_SECONDS = environment.integer("GATEHOUSE_JOB_LEASE_SECONDS", 90)
JOB_HEARTBEAT_SECONDS = environment.integer("GATEHOUSE_JOB_HEARTBEAT_SECONDS", 10)
JOB_DISPATCH_SECONDS = environment.integer("GATEHOUSE_JOB_DISPATCH_SECONDS", 120)
# From the request to stop until the end is enforced.
JOB_GRACE_SECONDS = environment.integer("GATEHOUSE_JOB_GRACE_SECONDS", 5)
JOB_LOG_BYTES = environment.integer("GATEHOUSE_JOB_LOG_BYTES", 256 * 2**20)
# Jobs at once in one worker process.
JOB_SLOTS = environment.integer("GATEHOUSE_JOB_SLOTS", max(1, (os.cpu_count() or 1) // 2))
ALLOW_UNSANDBOXED_JOBS = environment.flag("GATEHOUSE_ALLOW_UNSANDBOXED_JOBS")

# The MLflow door.
MLFLOW_VERSION = "3.17.2"
ARTIFACT_FILE_LIMIT_BYTES = environment.integer("GATEHOUSE_ARTIFACT_FILE_LIMIT_BYTES", 5 * 2**30)
ARTIFACT_OWNER_LIMIT_BYTES = environment.integer("GATEHOUSE_ARTIFACT_OWNER_LIMIT_BYTES", 50 * 2**30)
UPLOAD_LIMIT_BYTES = environment.integer("GATEHOUSE_UPLOAD_LIMIT_BYTES", 2**30)
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 2**20

# The ledger.
LEDGER_HOST = environment.text("GATEHOUSE_LEDGER_HOST", "gatehouse.local")
LEDGER_STATE_DIR = Path(environment.text("GATEHOUSE_LEDGER_STATE_DIR", str(DATA_DIR / "ledger")))

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
