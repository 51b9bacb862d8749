"""Promotions: the list, the review page, and every act on it."""

from __future__ import annotations

from dataclasses import replace

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse, HttpResponseRedirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from controlplane.access import services as access
from controlplane.accounts import signatures
from controlplane.core.errors import DomainError, NotFound, StaleSubject
from frontend.forms.promotions import CommentForm, OpenForm, SignForm
from frontend.presenters import promotion_acts, promotion_list, scorecard
from frontend.presenters.promotion import PromotionPage
from frontend.presenters.promotion_people import SIGNS_AS
from frontend.views.base import Crumb, PageRequest, page, show, to
from registry.models import Environment, ModelVersion, PromotionRequest, Review
from registry.services import promotions, reviews

_JOINED = PromotionRequest.objects.select_related(
    "model__workspace",
    "model__owner",
    "version__model",
    "version__registrant",
    "environment",
    "policy__environment",
    "requester",
    "replaces__model",
    "replaces__registrant",
).prefetch_related(
    "gates",
    "version__datasets__dataset",
    "replaces__datasets__dataset",
    Prefetch("reviews", queryset=Review.objects.select_related("reviewer")),
)


@require_GET
@page
def index(request: PageRequest) -> HttpResponse:
    """List promotions, those that wait for the reader first."""
    context = promotion_list.listed(request.GET, actor=request.actor)
    context["may_propose"] = "propose" in access.verbs_on(request.actor, request.workspace)
    return show(request, "promotions/list.html", context, crumbs=[Crumb("Promotions")])


@require_GET
@page
def detail(request: PageRequest, number: int) -> HttpResponse:
    """Show the review page; after the decision it is the record of it."""
    review = _page(request, number)
    context = {
        "pr": review,
        "card": scorecard.scorecard(review.evidence, review.record.policy),
        "acts": promotion_acts.acts(review),
        "comment_form": CommentForm(auto_id="comment_%s"),
    }
    return show(request, "promotions/detail.html", context, crumbs=_crumbs(request, review))


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
@page
def sign(request: PageRequest, number: int) -> HttpResponse:
    """Show what would be signed; a right password signs exactly the digest that was shown.

    When the subject has changed since, the answer is 409 and the comment is kept.
    """
    review = _page(request, number)
    step = review.approve_step
    if request.method == "GET" and (step is None or not step.allowed):
        return HttpResponseRedirect(review.url)
    points = [(point.key, point.text) for point in review.points]
    initial = {"digest": review.digest}
    form = SignForm(request.POST or None, initial=initial, points=points)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                _sign(request, review, form)
            except StaleSubject as error:
                form.add_refusal(error.message)
                form.data = {**form.data.dict(), "digest": review.digest}  # type: ignore[attr-defined]
                return _sign_page(request, review, form, status=409, stale=True)
            except DomainError as error:
                form.add_refusal(error.message, error.details.get("fields"))
                status = _status_of(error)
            else:
                messages.success(request, f"You approved PR-{number}.")
                return HttpResponseRedirect(review.url)
    return _sign_page(request, review, form, status=status)


@require_http_methods(["GET", "POST"])
@page
def act(request: PageRequest, number: int, name: str) -> HttpResponse:
    """Ask for one act on a page of its own, and do it."""
    review = _page(request, number)
    wanted = next((item for item in promotion_acts.acts(review) if item.name == name), None)
    if wanted is None:
        if request.method == "POST":
            # Not offered: the service says why, and the refusal is recorded.
            promotion_acts.perform(name, review, {}, actor=request.actor)
        raise NotFound(f"PR-{number} offers no such step now.")
    if request.method == "POST":
        form = promotion_acts.form_of(name, request.POST, digest=review.digest)
        if form.is_valid():
            try:
                promotion_acts.perform(name, review, form.cleaned_data, actor=request.actor)
            except DomainError as error:
                form.add_refusal(error.message, error.details.get("fields"))
            else:
                return HttpResponseRedirect(review.url)
        wanted = replace(wanted, form=form)
    status = 422 if wanted.form is not None and wanted.form.errors else 200
    crumbs = [
        *_crumbs(request, review)[:-1],
        Crumb(f"PR-{number}", review.url),
        Crumb(wanted.label),
    ]
    return show(request, "act.html", {"act": wanted}, crumbs=crumbs, status=status)


@require_POST
@page
def comment(request: PageRequest, number: int) -> HttpResponse:
    """Add a remark to the discussion."""
    review = _page(request, number)
    form = CommentForm(request.POST, auto_id="comment_%s")
    if form.is_valid():
        reviews.comment(review.record.pk, actor=request.actor, text=form.cleaned_data["text"])
        return HttpResponseRedirect(f"{review.url}#discussion")
    context = {
        "pr": review,
        "card": scorecard.scorecard(review.evidence, review.record.policy),
        "acts": promotion_acts.acts(review),
        "comment_form": form,
    }
    crumbs = _crumbs(request, review)
    return show(request, "promotions/detail.html", context, crumbs=crumbs, status=422)


@require_http_methods(["GET", "POST"])
@page
def new(request: PageRequest) -> HttpResponse:
    """Ask for a version to go live somewhere."""
    form = OpenForm(request.POST or None, initial=_asked_for(request))
    form.fields["version"].queryset = _offered(request)  # type: ignore[attr-defined]
    form.fields["environment"].queryset = access.visible(  # type: ignore[attr-defined]
        Environment.objects.filter(state=Environment.State.ACTIVE), request.actor
    ).order_by("-order")
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        try:
            made = promotions.request(
                asked["version"],
                asked["environment"],
                actor=request.actor,
                reason=asked["reason"],
                link=asked["link"],
                strategy=asked["strategy"],
            )
        except DomainError as error:
            form.add_refusal(error.message, error.details.get("fields"))
        else:
            return HttpResponseRedirect(to(request, "promotion", made.number))
    crumbs = [Crumb("Promotions", to(request, "promotions")), Crumb("New")]
    status = 422 if form.errors else 200
    return show(request, "promotions/new.html", {"form": form}, crumbs=crumbs, status=status)


def _page(request: PageRequest, number: int) -> PromotionPage:
    record = access.visible(_JOINED.filter(number=number), request.actor).first()
    if record is None:
        raise NotFound(f"There is no promotion PR-{number}.")
    return PromotionPage(record, request.actor, request.workspace.key)


def _sign(request: PageRequest, review: PromotionPage, form: SignForm) -> None:
    seen = form.cleaned_data["digest"]
    reviews.require_may_approve(review.record.pk, actor=request.actor, subject_digest=seen)
    signature = signatures.sign(
        actor=request.actor, password=form.cleaned_data["password"], subject_digest=seen
    )
    reviews.approve(
        review.record.pk,
        actor=request.actor,
        subject_digest=seen,
        signature_id=signature.pk,
        comment=form.cleaned_data["comment"],
        acknowledged=form.cleaned_data["acknowledged"],
    )


def _status_of(error: DomainError) -> int:
    """A mistyped password is a form to fill in again; every other refusal keeps its own status."""
    is_mistake = error.error_code == "wrong_password" or error.status not in {403, 409, 429}
    return 422 if is_mistake else error.status


def _sign_page(
    request: PageRequest, review: PromotionPage, form: SignForm, *, status: int, stale: bool = False
) -> HttpResponse:
    context = {
        "pr": review,
        "form": form,
        "stale": stale,
        "signs_as": SIGNS_AS.get(review.standing.slot, "reviewer"),
    }
    crumbs = [
        *_crumbs(request, review)[:-1],
        Crumb(f"PR-{review.number}", review.url),
        Crumb("Sign"),
    ]
    return show(request, "promotions/sign.html", context, crumbs=crumbs, status=status)


def _offered(request: PageRequest) -> object:
    return (
        access.visible(
            ModelVersion.objects.filter(state=ModelVersion.State.SEALED), request.actor, "propose"
        )
        .select_related("model")
        .order_by("model__name", "-number")
    )


def _asked_for(request: PageRequest) -> dict[str, object]:
    """Return what a link on a model's or version's page has chosen already."""
    version = _offered(request).filter(  # type: ignore[attr-defined]
        model__name=request.GET.get("model", ""), number=_whole(request.GET.get("version", ""))
    )
    return {"version": version.first()}


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _crumbs(request: PageRequest, review: PromotionPage) -> list[Crumb]:
    return [Crumb("Promotions", to(request, "promotions")), Crumb(f"PR-{review.number}")]
