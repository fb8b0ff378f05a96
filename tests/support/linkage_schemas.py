"""Small linkage schemas, so that a test only says what matters to it."""

from typing import Any


def string_feature(identifier: str, **hashing: Any) -> dict[str, Any]:
    """A text column compared by bigrams; `hashing` replaces members of the hashing object."""
    return {
        "identifier": identifier,
        "format": {"type": "string"},
        "hashing": {
            "comparison": {"type": "ngram", "n": 2},
            "strategy": {"bitsPerFeature": 60},
            "hash": {"type": "blakeHash"},
            **hashing,
        },
    }


def linkage_schema(*features: dict[str, Any], **config: Any) -> dict[str, Any]:
    """A document of version 3; `config` replaces members of clkConfig."""
    return {
        "version": 3,
        "clkConfig": {"l": 1024, "kdf": {"type": "HKDF"}, **config},
        "features": list(features) or [string_feature("given_name"), string_feature("surname")],
    }
