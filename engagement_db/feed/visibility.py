"""Which posts a viewer may see."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

import peewee

from engagement_db.feed.words import Visibility
from engagement_db.orm.fields import reject, shown
from engagement_db.orm.keyset import Branch
from engagement_db.orm.rows import id_of, ids_of
from engagement_db.platform import User

if TYPE_CHECKING:
    from engagement_db.feed.posts import FeedPost

CONNECTIONS_LIMIT: Final = 10_000


class Audience(Enum):
    """Viewers that are not a user."""

    ANONYMOUS = "anonymous"
    EVERYTHING = "everything"


# A visitor who is not signed in, who sees public posts only; and a job or a moderator, who sees all posts.
ANONYMOUS: Final = Audience.ANONYMOUS
EVERYTHING: Final = Audience.EVERYTHING

# None is ANONYMOUS, so that a request without a user sees public posts only.
Viewer = User | int | Audience | None
Connections = Iterable[User | int]


@dataclass(frozen=True)
class Sight:
    """What a viewer may see, by ids. ``viewer`` is None for ANONYMOUS and EVERYTHING."""

    is_unlimited: bool = False
    viewer: int | None = None
    connections: tuple[int, ...] = ()

    def predicate(self, posts: "type[FeedPost]") -> peewee.Node:
        """Return the predicate of the visible posts."""
        if self.is_unlimited:
            return peewee.SQL("1 = 1")
        conditions: list[peewee.Node] = [branch.condition for branch in self.branches(posts)]
        return reduce(or_, conditions)

    def branches(self, posts: "type[FeedPost]", wanted: Visibility | None = None) -> list[Branch]:
        """Return the branches of a page of the visible posts, where not all are, or of those among them with one label.

        A label that this version does not know is visible to the author alone.
        """
        public, label = Visibility.PUBLIC, posts.visibility
        found = []
        if wanted in (None, public):
            found.append(Branch("feed_posts_visibility_created_at", label, [public]))
        if self.viewer is not None and wanted != public:
            is_seen: peewee.Node = label != public if wanted is None else label == wanted
            if self.connections:
                is_seen &= (posts.user == self.viewer) | (label == Visibility.CONNECTIONS)
            authors = [self.viewer, *self.connections]
            found.append(Branch("feed_posts_user_id_created_at", posts.user, authors, is_seen))
        return found

    def branch_of(self, posts: "type[FeedPost]", author: int) -> Branch:
        """Return the branch of a page of those posts of ``author`` that are visible."""
        is_seen: peewee.Node | None = posts.visibility == Visibility.PUBLIC
        if self.is_unlimited or author == self.viewer:
            is_seen = None
        elif author in self.connections:
            is_seen = posts.visibility.in_([Visibility.PUBLIC, Visibility.CONNECTIONS])
        return Branch("feed_posts_user_id_created_at", posts.user, [author], is_seen)


def sight_of(posts: "type[FeedPost]", viewer: Viewer, connections: Connections) -> Sight:
    """Return what ``viewer`` sees.

    Raises RefusedValue for a viewer or connections that are not users or ids, for connections of ANONYMOUS or
    EVERYTHING, and for more than 10,000 of them.
    """
    if isinstance(connections, str | bytes) or not isinstance(connections, Iterable):
        reject(posts.user, f"connections are users or their ids in a list, not {shown(connections)}")
    ids = ids_of(posts.user, connections, CONNECTIONS_LIMIT)
    if viewer is None or isinstance(viewer, Audience):
        if ids:
            reject(posts.user, "connections belong to a user; pass that user as viewer")
        return Sight(is_unlimited=viewer is EVERYTHING)
    key = id_of(posts.user, viewer)
    return Sight(viewer=key, connections=tuple(other for other in ids if other != key))
