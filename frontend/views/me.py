"""A person's own page: roles, tokens, client settings."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_http_methods, require_POST

from controlplane.accounts import tokens
from controlplane.accounts.models import ApiToken
from controlplane.core.errors import DomainError
from frontend.forms.me import TokenForm
from frontend.presenters import me as presenter
from frontend.views.base import Crumb, PageRequest, page, show, to


@require_http_methods(["GET", "POST"])
@page
def detail(request: PageRequest) -> HttpResponse:
    """Show roles and tokens; a new token's secret is shown once, in this answer alone."""
    form = TokenForm(request.POST or None)
    secret = ""
    if request.method == "POST" and form.is_valid():
        try:
            _, secret = tokens.issue(
                actor=request.actor,
                user=request.person,
                workspace=request.workspace,
                name=form.cleaned_data["name"],
                kind=ApiToken.Kind.HUMAN,
                lifetime=form.lifetime,
                scopes=form.verbs,
            )
        except DomainError as error:
            form.add_refusal(error.message, error.details.get("fields"))
        else:
            form = TokenForm()
    context = {
        "form": form,
        "new_secret": secret,
        "tokens": presenter.tokens(request.person, request.workspace),
        "grants": presenter.grants(request.actor, request.person),
        "public_url": settings.PUBLIC_URL,
    }
    status = 422 if form.errors else 200
    return show(request, "me/detail.html", context, crumbs=[Crumb("You")], status=status)


@require_POST
@page
def revoke(request: PageRequest, token_id: UUID) -> HttpResponse:
    """End one token at once."""
    token = tokens.revoke(token_id, actor=request.actor, reason="Revoked by its owner.")
    messages.success(request, f"The token {token.name} no longer opens anything.")
    return HttpResponseRedirect(to(request, "me"))
