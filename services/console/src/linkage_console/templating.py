"""Templates: the only module that knows Jinja and the package of GOV.UK Frontend's components."""

from collections.abc import Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader

from linkage_console import wording


class Pages:
    """Renders pages; everything that is put into one is escaped."""

    def __init__(self, *, at: str) -> None:
        self._environment = Environment(
            # Whatever a template is called: there is no page in which text is not escaped.
            autoescape=True,
            loader=ChoiceLoader(
                [
                    PackageLoader("linkage_console"),
                    PrefixLoader({"govuk_frontend_jinja": PackageLoader("govuk_frontend_jinja")}),
                ]
            ),
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {"at": at, "pairs": wording.pairs, "elements": wording.elements}
        self._environment.filters |= wording.FILTERS

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """One page as HTML."""
        return self._environment.get_template(name).render(values)
