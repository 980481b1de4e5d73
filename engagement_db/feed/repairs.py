"""Traces of repairs of the feed's rows, in the activity log."""

from typing import Any

from engagement_db.feed.activity import FeedActivityLog
from engagement_db.feed.words import FeedAction
from engagement_db.repairs import Repair


def log_repair(repair: Repair[Any], post: int | None, comment_id: int | None = None) -> None:
    """Record which columns of which row were repaired, and why; of references also the values, of text none."""
    references = repair.row._meta.refs
    columns = {
        name: [repair.before[name], value] if repair.row._meta.fields[name] in references else None
        for name, value in repair.after.items()
    }
    details = {"table": repair.row._meta.table_name, "id": repair.row.id, "reason": repair.reason, "columns": columns}
    FeedActivityLog.record(
        FeedAction.ROW_REPAIRED, actor=repair.by_id, post=post, comment_id=comment_id, metadata=details
    )
