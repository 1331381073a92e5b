"""What all tests share."""

from hypothesis import settings

# How long an example takes says more of what else the machine does than of the code: pytest's own timeout stands.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
