"""Operations in the console by its own links and forms."""

from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.urls import resolve, reverse
from ferries.models import Crossing
from ferries.views import ENGINE_DATABASE

from sagas.models import Saga, SagaAccess, SagaBulk
from sagas.operators.operations import pause, resume

from .feats import feat
from .pages import Visitor
from .running import OPERATOR, cure, find, place, prefix, settle, waits

REASON = "The bank is open again, see its page."
TALL = 1_000
MANY_PAGES, MOST_PAGES = 30, 50


def site_url(name, *arguments):
    """Return the URL of a page on the operators' site."""
    return reverse(f"{settings.CONSOLE_SITE}:{name}", args=arguments)


def make_user(name, group=None):
    """Create a user who may enter the admin, a superuser if no group is named."""
    model = get_user_model()
    user = model(**{model.USERNAME_FIELD: f"{name}@example.com"}, is_staff=True, is_superuser=group is None)
    user.save()
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


_visitors = {}


def visit_as(name, group=None):
    """Return the browser of a user, created at the first visit."""
    if name not in _visitors:
        _visitors[name] = Visitor(make_user(name, group))
    return _visitors[name]


def place_waiting(count):
    """Book crossings whose bank is closed for an hour, then let it open.

    Returns: the ids of their sagas.
    """
    placed = [place("bank") for _ in range(count)]
    ids = [saga_id for saga_id, _ in placed]
    settle(*ids, until=waits)
    for _, crossing in placed:
        cure(crossing)
    return ids


def open_operation(visitor, saga_id, code):
    """Open the page of an operation from the saga's page."""
    page = visitor.get(site_url("sagas_saga_change", saga_id))
    links = {link for link in page.links if f"/{saga_id}/act/{code}/" in link}
    assert links, f"{page.url} ({page.status}) offers no {code}: {page.read()[:600]}"
    [link] = links
    return visitor.get(link)


@feat
def retry_from_console():
    """Retry a saga from its page."""
    visitor = visit_as("operator", "Saga operators")
    [saga_id] = place_waiting(1)
    form = open_operation(visitor, saga_id, "retry").form_with("reason")
    answer = visitor.submit(form, reason=REASON)
    where = answer.url == site_url("sagas_saga_change", saga_id)
    return [answer.status, where, *settle(saga_id)]


@feat
def operate_from_console():
    """Pause, resume and cancel a saga."""
    visitor = visit_as("operator", "Saga operators")
    [saga_id] = place_waiting(1)
    found = []
    for code in ("pause", "resume", "cancel"):
        form = open_operation(visitor, saga_id, code).form_with("reason")
        found.append([visitor.submit(form, reason=REASON).status, find(saga_id).hold])
    return [found, *settle(saga_id)]


@feat
def bulk_from_console():
    """Select three in the list and retry them at once."""
    visitor = visit_as("supervisor", "Saga supervisors")
    ids = place_waiting(3)
    ticked = visitor.get(site_url("sagas_saga_changelist")).form_with("action")
    frozen = visitor.submit(ticked, action="retry", index="0", _selected_action=ids)
    started = visitor.submit(frozen.form_with("reason"), reason=REASON)
    bulk_id = started.url.partition("/sagabulk/")[2].partition("/")[0]
    states = settle(*ids)
    bulk = SagaBulk.objects.using(ENGINE_DATABASE).get(pk=bulk_id)
    page = visitor.get(site_url("sagas_sagabulk_change", bulk_id))
    return [started.status, bulk.state, page.progress, states]


@feat
def show_payload():
    """Show a result to a superuser, which is logged."""
    visitor = visit_as("superuser")
    saga_id, _ = place()
    settle(saga_id)
    page = visitor.get(site_url("sagas_saga_change", saga_id) + "?tab=steps&step=hold_places")
    looks = SagaAccess.objects.using(ENGINE_DATABASE).filter(saga_id=saga_id).count()
    return ["cabin-7" in page.text, looks]


@feat
def open_every_page():
    """Open the pages the console links to, and what their scripts request.

    Returns: what did not open; links out of the site; machine-readable numbers with separators; whether
    there were many pages.
    """
    visitor = visit_as("superuser")
    root = site_url("index")
    [saga_id] = place_waiting(1)
    waiting = [root, site_url("sagas_saga_changelist"), site_url("sagas_saga_change", saga_id)]
    seen, kinds, failed, outside, numbers = set(), set(), [], set(), set()
    while waiting and len(seen) < MOST_PAGES:
        url = waiting.pop(0)
        if url in seen:
            continue
        seen.add(url)
        page = visitor.get(url)
        if page.status != 200 and not is_refusal(url, page):
            failed.append([url, page.status])
        numbers |= set(page.odd_numbers)
        for link in {*page.links, *(form.action for form in page.forms)}:
            path = urlsplit(link).path
            if not path.startswith(root):
                outside.add(path)
            elif f"{root}sagas/" in path and (kind := kind_of(link)) not in kinds:
                kinds.add(kind)
                waiting.append(link)
    return [failed, sorted(outside - {prefix() or "/"}), sorted(numbers), len(seen) >= MANY_PAGES]


def kind_of(link):
    """Return the view and query names of a page; one page of a kind is enough."""
    parts = urlsplit(link)
    found = resolve(parts.path.removeprefix(prefix()))
    return found.view_name, found.kwargs.get("code"), *sorted(part.partition("=")[0] for part in parts.query.split("&"))


def is_refusal(url, page):
    """Return whether a page explains that this operation is not possible now."""
    return page.status in (405, 409) and any(
        part in url for part in ("/act/", "/start/", "/stop/", "/notes/", "/delete/")
    )


@feat
def lengthen_history():
    """Give a saga a thousand history entries, as after many operations."""
    saga_id, _ = place("bank")
    settle(saga_id, until=waits)
    while find(saga_id).history_count < TALL:
        pause(UUID(saga_id), actor=OPERATOR, reason=REASON)
        resume(UUID(saga_id), actor=OPERATOR, reason=REASON)
    return find(saga_id).history_count


@feat
def operate_tall_saga():
    """Pause, resume and retry the saga with a thousand entries."""
    visitor = visit_as("operator", "Saga operators")
    saga = Saga.objects.using(ENGINE_DATABASE).get(history_count__gte=TALL)
    Crossing.objects.update(trouble="")
    found = []
    for code in ("pause", "resume", "retry"):
        form = open_operation(visitor, saga.pk, code).form_with("reason")
        status = visitor.submit(form, reason=REASON).status
        found.append([status, find(saga.pk).hold])
        if status != 200:
            return found
    return [*found, *settle(saga.pk)]


@feat
def set_the_scene():
    """Create an operator, and crossings whose bank has opened meanwhile.

    Returns: the operator's name and the ids of the sagas.
    """
    user = make_user("operator", "Saga supervisors")
    user.set_password("operator")
    user.save()
    saga_id, _ = place()
    settle(saga_id)
    return [user.get_username(), [saga_id, *place_waiting(4)]]
