from django.urls import path

from registry.api import promotions, records

urlpatterns = [
    path("datasets/", records.Datasets.as_view(), name="datasets"),
    path("datasets/<str:name>/", records.OneDataset.as_view(), name="dataset"),
    path(
        "datasets/<str:name>/versions/", records.DatasetVersions.as_view(), name="dataset-versions"
    ),
    path(
        "datasets/<str:name>/versions/<int:number>/",
        records.OneDatasetVersion.as_view(),
        name="dataset-version",
    ),
    path("models/", records.Models.as_view(), name="models"),
    path("models/<str:name>/", records.OneModel.as_view(), name="model"),
    path("models/<str:name>/versions/", records.Versions.as_view(), name="versions"),
    path("models/<str:name>/versions/<int:number>/", records.OneVersion.as_view(), name="version"),
    path(
        "models/<str:name>/versions/<int:number>/evidence/",
        records.VersionEvidence.as_view(),
        name="version-evidence",
    ),
    path("environments/", records.Environments.as_view(), name="environments"),
    path("environments/<slug:key>/policies/", records.Policies.as_view(), name="policies"),
    path("promotions/", promotions.Promotions.as_view(), name="promotions"),
    path("promotions/<int:number>/", promotions.OnePromotion.as_view(), name="promotion"),
    path("promotions/<int:number>/approve/", promotions.Approve.as_view(), name="approve"),
    path(
        "promotions/<int:number>/request-changes/",
        promotions.RequestChanges.as_view(),
        name="request-changes",
    ),
    path("promotions/<int:number>/reject/", promotions.Reject.as_view(), name="reject"),
    path("promotions/<int:number>/comment/", promotions.Comment.as_view(), name="comment"),
    path("promotions/<int:number>/withdraw/", promotions.Withdraw.as_view(), name="withdraw"),
    path("promotions/<int:number>/check/", promotions.CheckAgain.as_view(), name="check"),
    path("promotions/<int:number>/execute/", promotions.Execute.as_view(), name="execute"),
]
