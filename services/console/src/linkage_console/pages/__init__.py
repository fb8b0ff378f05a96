"""The pages, a module for each part of the navigation."""

from typing import Final

from linkage_console.pages import (
    account,
    activity,
    agreements,
    integrity,
    machines,
    organisations,
    overview,
    people,
    projects,
    retention,
    rights,
    runs,
)
from linkage_console.routing import Page

ROUTES: Final[tuple[Page, ...]] = (
    *account.PAGES,
    *overview.PAGES,
    *agreements.PAGES,
    *people.PAGES,
    *machines.PAGES,
    *projects.PAGES,
    *runs.PAGES,
    *rights.PAGES,
    *retention.PAGES,
    *organisations.PAGES,
    *activity.PAGES,
    *integrity.PAGES,
)
