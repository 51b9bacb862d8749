"""Every address of the pages. Inside a workspace: `/w/<workspace>/…`; short ones lead there."""

from __future__ import annotations

from django.urls import include, path, re_path

from frontend.views import (
    audit,
    datasets,
    home,
    me,
    models,
    promotions,
    queue,
    rollouts,
    runs,
    search,
    session,
)

in_workspace = (
    [
        path("", home.index, name="home"),
        path("search", search.suggest, name="search"),
        path("find/", search.find, name="find"),
        path("models/", models.index, name="models"),
        path("models/<str:name>/", models.detail, name="model"),
        path("models/<str:name>/versions/<int:number>/", models.version, name="version"),
        path(
            "models/<str:name>/versions/<int:number>/retire/", models.retire, name="version_retire"
        ),
        path("models/<str:name>/versions/<str:label>/", models.version_by_name),
        path("datasets/", datasets.index, name="datasets"),
        re_path(
            r"^datasets/(?P<name>[^/@]+)@(?P<number>\d{1,9})/$",
            datasets.detail,
            name="dataset_version",
        ),
        path("datasets/<str:name>/", datasets.detail, name="dataset"),
        path("promotions/", promotions.index, name="promotions"),
        path("promotions/new/", promotions.new, name="promotion_new"),
        path("promotions/<int:number>/", promotions.detail, name="promotion"),
        path("promotions/<int:number>/sign/", promotions.sign, name="promotion_sign"),
        path("promotions/<int:number>/comment/", promotions.comment, name="promotion_comment"),
        path("promotions/<int:number>/<slug:name>/", promotions.act, name="promotion_act"),
        path("rollouts/", rollouts.index, name="rollouts"),
        path("rollouts/<int:pk>/", rollouts.detail, name="rollout"),
        path("rollouts/<int:pk>/<slug:name>/", rollouts.act, name="rollout_act"),
        path("queue/", queue.board, name="queue"),
        path("runs/", runs.index, name="runs"),
        path("runs/<str:run_id>/", runs.detail, name="run"),
        path("jobs/<uuid:job_id>/", runs.job, name="job"),
        path("jobs/<uuid:job_id>/board/", runs.board, name="job_board"),
        path("jobs/<uuid:job_id>/log/", runs.log, name="job_log"),
        path("jobs/<uuid:job_id>/log.txt", runs.raw_log, name="job_log_raw"),
        path("jobs/<uuid:job_id>/stop/", runs.stop, name="job_stop"),
        path("audit/", audit.index, name="audit"),
        path("audit/verify/", audit.verify, name="audit_verify"),
        path("audit/<uuid:event_id>/", audit.entry, name="audit_entry"),
        path("audit/<int:number>/", audit.by_number, name="audit_number"),
        path("me/", me.detail, name="me"),
        path("me/tokens/<uuid:token_id>/revoke/", me.revoke, name="token_revoke"),
    ],
    "pages",
)

_SHORT = "models|datasets|promotions|rollouts|queue|runs|jobs|audit|me|search|find"

urlpatterns = [
    path("", session.into_workspace, name="start"),
    path("login/", session.sign_in, name="sign_in"),
    path("logout/", session.sign_out, name="sign_out"),
    path("theme/", session.theme, name="theme"),
    path("w/<slug:workspace_key>/", include(in_workspace)),
    re_path(rf"^(?P<rest>(?:{_SHORT})(?:/.*)?)$", session.into_workspace),
]
