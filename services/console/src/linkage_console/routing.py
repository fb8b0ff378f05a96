"""How a page says where it is and who may come."""

from dataclasses import dataclass
from typing import Literal

from linkage_console.visits import Handler


@dataclass(frozen=True, slots=True)
class Page:
    """A page or what a form does.

    Attributes:
        public: whether it is for people who are not signed in.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    public: bool = False
