"""Signing in and out, the theme, and addresses without a workspace."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from controlplane.accounts import sessions
from controlplane.core.errors import DomainError, NotFound
from frontend.forms.session import SignInForm
from frontend.shell import THEMES
from frontend.views.base import signed_in

A_YEAR = 31_536_000


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Show the form; a right name and password start a session and lead back to the page asked for.

    Wrong ones answer 422 with one sentence that does not tell which of the two was wrong.
    """
    form = SignInForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            sessions.sign_in(request, **form.cleaned_data)
        except DomainError as error:
            form.add_refusal(error.message)
        else:
            return HttpResponseRedirect(_back(request, request.GET.get("next", "")))
    status = 422 if form.errors else 200
    return render(request, "login.html", {"form": form}, status=status)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    sessions.sign_out(request)
    return HttpResponseRedirect(reverse("sign_in"))


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Switch between light and dark for readers without JavaScript."""
    now = request.COOKIES.get("theme", "")
    chosen = THEMES[0] if now == THEMES[1] else THEMES[1]
    response = HttpResponseRedirect(_back(request, request.POST.get("next", "")))
    response.set_cookie("theme", chosen, max_age=A_YEAR, samesite="Lax", secure=request.is_secure())
    return response


@require_GET
def into_workspace(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Lead an address without a workspace into the one used last, query and all."""
    signed_in(request)
    workspace = getattr(request, "workspace", None)
    if workspace is None:
        raise NotFound("You do not belong to a workspace yet. An administrator can add you to one.")
    query = request.META.get("QUERY_STRING", "")
    return HttpResponseRedirect(f"/w/{workspace.key}/{rest}{'?' + query if query else ''}")


def _back(request: HttpRequest, address: str) -> str:
    is_ours = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return address if address and is_ours else "/"
