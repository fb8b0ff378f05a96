"""Tokens of numbers, so that near numbers share some: the neighbourhoods of Vatsalan and Christen (2015)."""


def numeric_tokens(value: str, *, distance_interval: int, resolution: int, fractional_precision: int) -> list[str]:
    """The 2·resolution+1 tokens around a number; none for an empty value.

    Values are multiplied by 2·resolution in place of dividing the interval, as clkhash does, so that all is integer
    arithmetic once the value has been read. Raises ValueError or OverflowError for what is no finite number.
    """
    if not value:
        return []
    centre = _quantised(value, fractional_precision=fractional_precision) * 2 * resolution
    residue = centre % distance_interval
    if residue:
        centre += -residue if residue < distance_interval / 2 else distance_interval - residue
    return [str(centre + i * distance_interval) for i in range(-resolution, resolution + 1)]


def _quantised(value: str, *, fractional_precision: int) -> int:
    scale = int(10**fractional_precision)
    try:
        # Integers first: a detour by way of float would lose digits beyond 2^53.
        return int(value, base=10) * scale
    except ValueError:
        number = float(value)
    return round(number * scale) if fractional_precision else int(number)
