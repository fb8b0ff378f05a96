import json
from pathlib import Path
from typing import Any

import pytest

from linkage_client.exchange.cards import KeyCard
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.suites import Suite
from support.exchange_documents import PROJECT, keys_of
from support.exchange_oracle import Party

NAMES = ("org_north", "org_south", "org_west")


@pytest.fixture(scope="session")
def known() -> Any:
    """Known answers, made once by `support.exchange_oracle`."""
    return json.loads((Path(__file__).parent / "data" / "known_answers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def cards() -> dict[str, KeyCard]:
    return {name: keys_of(Party(name)).card(name) for name in NAMES}


@pytest.fixture(params=list(Suite))
def keyset(request: pytest.FixtureRequest, cards: dict[str, KeyCard]) -> Keyset:
    return Keyset(project_id=PROJECT, epoch=3, suite=request.param, cards=list(cards.values()))
