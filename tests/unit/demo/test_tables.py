from itertools import pairwise

from linkage_client.demo import names, places


def test_communities_have_names_of_both_sexes_and_surnames() -> None:
    assert abs(sum(names.COMMUNITY_SHARES.values()) - 1) < 1e-9
    assert set(names.COMMUNITY_SURNAMES) == set(names.COMMUNITY_SHARES)
    for community in set(names.COMMUNITY_SHARES) - {"british"}:
        assert all(names.COMMUNITY_GIVEN_NAMES[sex, community].split() for sex in (names.FEMALE, names.MALE))


def test_given_names_of_every_decade_are_there_for_both_sexes() -> None:
    assert set(names.BRITISH_GIVEN_NAMES) == {
        (sex, decade) for sex in (names.FEMALE, names.MALE) for decade in range(1930, 2021, 10)
    }


def test_spellings_are_variants_of_each_other() -> None:
    for name, variants in names.SPELLINGS.items():
        assert name not in variants
        assert all(name in names.SPELLINGS[variant] for variant in variants)


def test_towns_have_a_postcode_area_districts_and_a_size() -> None:
    assert all(town.area.isalpha() and town.area.isupper() and len(town.area) <= 2 for town in places.TOWNS)
    assert all(town.districts > 0 and town.size_thousands > 0 for town in places.TOWNS)


def test_postcode_letters_are_those_in_use() -> None:
    assert not set(places.POSTCODE_LETTERS) & set("CIKMOV")
    assert all(first < second for first, second in pairwise(places.POSTCODE_LETTERS))
