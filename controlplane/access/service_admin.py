"""Admin pages that change nothing themselves: each change names the service that makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from controlplane.access.admin_site import answers_to
from controlplane.core.actor import Actor
from controlplane.core.errors import DomainError, NotFound

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    # Generic for the type checker only.
    _ModelAdmin = admin.ModelAdmin


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Kept in the audit log.",
    )


@dataclass(frozen=True)
class Addition:
    """A way to make a record: ``service`` is called with the actor and the form's fields.

    What it returns is shown once on the answer, when it is a text (the secret of a token).
    """

    name: str
    label: str
    form: Callable[..., forms.Form]
    service: Callable[..., Any]
    shown_once: str = ""


@dataclass(frozen=True)
class Act:
    """Something done to one record: ``service`` is called with its key, the actor and a reason."""

    name: str
    label: str
    service: Callable[..., Any]
    is_open: Callable[[Any], bool] = lambda record: True


class ServiceAdmin(_ModelAdmin):
    """Lists and shows; adds and acts only through the services that a subclass names.

    Django's own add, change and delete are refused, whatever the person may do.
    """

    additions: ClassVar[tuple[Addition, ...]] = ()
    acts: ClassVar[tuple[Act, ...]] = ()
    # The lookup from a row to its workspace; rows of other workspaces do not exist here.
    workspace_path: ClassVar[str | None] = None
    actions = None
    view_on_site = False
    show_full_result_count = False
    change_list_template = "service_admin/list.html"
    change_form_template = "service_admin/record.html"

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.admin_site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.admin_site.has_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows = super().get_queryset(request)
        if self.workspace_path is None:
            return rows
        return rows.filter(**{self.workspace_path: Actor.from_request(request).workspace_id})

    def get_urls(self) -> list[URLPattern]:
        """Serve the list, one record, and a page for each addition and act that is named."""
        wrap = self.admin_site.admin_view
        pages = [
            path(
                f"new/{addition.name}/",
                wrap(partial(self.add_through_service, addition=addition)),
                name=self._url_name(addition.name),
            )
            for addition in self.additions
        ]
        pages += [
            path(
                f"<path:object_id>/{act.name}/",
                wrap(partial(self.act_through_service, act=act)),
                name=self._url_name(act.name),
            )
            for act in self.acts
        ]
        stock = {self._url_name(name) for name in ("add", "delete", "history")}
        kept = [url for url in super().get_urls() if url.name is not None and url.name not in stock]
        return pages + kept

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        links = [(item.label, self._url(item.name)) for item in self.additions]
        return super().changelist_view(request, {**(extra_context or {}), "additions": links})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        record = self.get_object(request, object_id)
        links = [
            (act.label, self._url(act.name, object_id))
            for act in self.acts
            if record is not None and act.is_open(record)
        ]
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "acts": links}
        )

    @answers_to("GET", "POST")
    def add_through_service(self, request: HttpRequest, *, addition: Addition) -> HttpResponse:
        """Show the form; call the named service with what was filled in."""
        actor = Actor.from_request(request)
        form = addition.form(request.POST or None, actor=actor)
        if request.method == "POST" and form.is_valid():
            try:
                made = addition.service(actor=actor, **form.cleaned_data)
            except DomainError as error:
                form.add_error(None, error.message)
            else:
                if addition.shown_once:
                    return self._page(
                        request, addition.label, secret=made, note=addition.shown_once
                    )
                messages.success(request, f"{addition.label}: done. The audit log holds the event.")
                return HttpResponseRedirect(self._url("changelist"))
        return self._page(request, addition.label, form=form)

    @answers_to("GET", "POST")
    def act_through_service(
        self, request: HttpRequest, object_id: str, *, act: Act
    ) -> HttpResponse:
        """Ask for a reason; call the named service with it.

        Raises:
            NotFound: there is no such record in the workspace.
        """
        record = self.get_object(request, object_id)
        if record is None:
            raise NotFound(f"There is no such {self.opts.verbose_name}.")
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                act.service(record, actor=Actor.from_request(request), **form.cleaned_data)
            except DomainError as error:
                form.add_error(None, error.message)
            else:
                messages.success(request, f"{act.label}: done. The audit log holds the event.")
                return HttpResponseRedirect(self._url("changelist"))
        return self._page(request, f"{act.label}: {record}", form=form, is_ending=True)

    def _page(self, request: HttpRequest, title: str, **context: Any) -> TemplateResponse:
        return TemplateResponse(
            request,
            "service_admin/form.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "back": self._url("changelist"),
                **context,
            },
            status=422 if getattr(context.get("form"), "errors", None) else 200,
        )

    def _url_name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def _url(self, name: str, *arguments: str) -> str:
        return reverse(f"{self.admin_site.name}:{self._url_name(name)}", args=arguments)
