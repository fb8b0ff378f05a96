"""Settings for the whole suite."""

from hypothesis import settings

# A test is right or wrong; how long one example took says how busy the machine was.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
