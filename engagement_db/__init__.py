"""Models, rules and migrations for a social feed and a trust suite. Importing opens no connection.

The first public name that is used loads the models, all of them. The commands need none of these names, so that they
start without the models.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

__version__ = "1.0.0"

if TYPE_CHECKING:
    from engagement_db.public import *  # noqa: F403
    from engagement_db.public import __all__ as __all__
else:

    def __getattr__(name):
        # `from engagement_db import servers` asks for an attribute before it imports the module.
        if name == "__all__" or not (name.startswith("_") or find_spec(f"{__name__}.{name}")):
            public = import_module(f"{__name__}.public")
            globals().update({known: getattr(public, known) for known in ("__all__", *public.__all__)})
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__getattr__("__all__")})
