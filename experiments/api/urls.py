from django.urls import path

from experiments.api import views

urlpatterns = [
    path("training/", views.Training.as_view(), name="training"),
    path("runs/", views.Runs.as_view(), name="runs"),
    path("runs/<str:run_id>/", views.OneRun.as_view(), name="run"),
    path("runs/<str:run_id>/metrics/<path:key>/", views.MetricHistory.as_view(), name="run-metric"),
    path(
        "models/<str:name>/versions/<int:number>/evaluations/",
        views.Evaluations.as_view(),
        name="evaluations",
    ),
]
