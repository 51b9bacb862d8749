from django.urls import path

from deployments.api import views

urlpatterns = [
    path("deployments/", views.Deployments.as_view(), name="deployments"),
    path("deployments/<slug:name>/", views.OneDeployment.as_view(), name="deployment"),
    path("deployments/<slug:name>/revisions/", views.Revisions.as_view(), name="revisions"),
    path("deployments/<slug:name>/predictions/", views.Predictions.as_view(), name="predictions"),
    path(
        "deployments/<slug:name>/rollback/",
        views.RollBackDeployment.as_view(),
        name="roll-back-deployment",
    ),
    path("rollouts/", views.Rollouts.as_view(), name="rollouts"),
    path("rollouts/<int:pk>/", views.OneRollout.as_view(), name="rollout"),
    path("rollouts/<int:pk>/advance/", views.Advance.as_view(), name="advance"),
    path("rollouts/<int:pk>/pause/", views.Pause.as_view(), name="pause"),
    path("rollouts/<int:pk>/resume/", views.Resume.as_view(), name="resume"),
    path("rollouts/<int:pk>/rollback/", views.RollBack.as_view(), name="roll-back"),
]
