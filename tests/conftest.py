"""How Hypothesis searches, for all tests.

`ci`, the default, takes the same examples every time and prints what replays a failure. `HYPOTHESIS_PROFILE=explore` takes new
ones every time, more of them, and remembers failures.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None, database=None)
settings.register_profile("explore", derandomize=False, print_blob=True, deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
