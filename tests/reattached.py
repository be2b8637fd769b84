"""Applications that ended, attached to the next platform: to parse all routes takes a tenth of a second.

What an application is made of is the same for every platform (``cdp.app.serving.routes``); all that it works
with is its state, which is emptied here.
"""

from __future__ import annotations

from collections import defaultdict

from litestar import Litestar

from cdp.app import serving

_new = serving.routes
_free: defaultdict[str, list[Litestar]] = defaultdict(list)


def routes(public_url: str) -> Litestar:
    """Return an application that nothing is attached to."""
    if _free[public_url]:
        return _free[public_url].pop()
    made = _new(public_url)

    def release() -> None:
        for name in list(made.state):
            delattr(made.state, name)
        _free[public_url].append(made)

    made.on_shutdown.append(release)
    return made


def pytest_configure() -> None:
    """Have every test of this process use them."""
    serving.routes = routes
