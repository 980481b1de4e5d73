"""The bare driver and short SQL by hand, correct under races."""

import itertools
import json
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from benchmarks.verbs import databases, work

_POST = 'p.id, p.content, p.visibility, p.metadata, p."createdAt", p."updatedAt"'
_AUTHOR = 'u.id, u."firstName", u."lastName", u.email, u."createdAt", u."updatedAt"'
_COMMENT = 'c.id, c."postId", c."userId", c."parentId", c.body, c.metadata, c."deletedAt", c."createdAt", c."updatedAt"'


class Peer(work.HandmadePeer):
    name = "driver"

    def __init__(self, url: str) -> None:
        self._server = databases.server_of(url)
        self._connection = databases.connect(url)
        self._cursor = self._connection.cursor()
        is_sqlite, is_postgres = self._server == "sqlite", self._server == "postgres"
        self._begin = "BEGIN IMMEDIATE" if is_sqlite else "BEGIN"
        self._lock = "" if is_sqlite else " FOR NO KEY UPDATE" if is_postgres else " FOR UPDATE"
        self._shared_lock = "" if is_sqlite else " FOR SHARE" if is_postgres else " LOCK IN SHARE MODE"
        self._has_returning = is_sqlite or is_postgres
        # Without it MySQL and MariaDB sort all posts.
        self._by_age = "" if self._has_returning else " FORCE INDEX (feed_posts_created_at)"

    def feed(self, viewer: int) -> list[Any]:
        posts = self._execute(
            f'SELECT {_POST}, {_AUTHOR} FROM feed_posts p{self._by_age} JOIN users u ON u.id = p."userId" '
            "WHERE CASE WHEN p.visibility = 'public' OR p.\"userId\" = %s THEN 1 ELSE 0 END = 1 "
            f'ORDER BY p."createdAt" DESC, p.id DESC LIMIT {work.PAGE + 1}',
            viewer,
        ).fetchall()[: work.PAGE]
        ids = [post[0] for post in posts]
        counts: dict[int, dict[str, int]] = {key: {} for key in ids}
        own: dict[int, str] = {}
        marks = ", ".join(["%s"] * len(ids))
        found = self._execute(
            f'SELECT "postId", CAST("reactionType" AS CHAR(12)), COUNT(*) FROM feed_reactions '
            f'WHERE "postId" IN ({marks}) GROUP BY "postId", "reactionType" '
            f"UNION ALL SELECT \"postId\", 'comments', COUNT(*) FROM feed_comments "
            f'WHERE "postId" IN ({marks}) AND "deletedAt" IS NULL GROUP BY "postId" '
            f'UNION ALL SELECT "postId", \'shares\', COUNT(*) FROM feed_shares WHERE "postId" IN ({marks}) '
            f'GROUP BY "postId" UNION ALL SELECT "postId", CAST("reactionType" AS CHAR(12)), -1 FROM feed_reactions '
            f'WHERE "postId" IN ({marks}) AND "userId" = %s',
            *ids * 4,
            viewer,
        )
        for key, kind, number in found:
            if number < 0:
                own[key] = kind.rstrip()
            else:
                counts[key][kind.rstrip()] = number
        return [(post, counts[post[0]], own.get(post[0])) for post in posts]

    def react(self, post: int, user: int, reaction_type: str) -> None:
        self._execute(self._begin)
        now = self._now()
        found = self._reaction(post, user)
        if found is None:
            columns = '"postId", "userId", "reactionType", "createdAt", "updatedAt"'
            ignore, otherwise = ("", " ON CONFLICT DO NOTHING") if self._has_returning else (" IGNORE", "")
            inserted = self._execute(
                f"INSERT{ignore} INTO feed_reactions ({columns}) VALUES (%s, %s, %s, %s, %s){otherwise}",
                *(post, user, reaction_type, now, now),
            )
            assert inserted.rowcount == 1
            self._log("reaction_added", user, post, details=work.reaction_details(reaction_type))
        elif found[1] != reaction_type:
            update = 'UPDATE feed_reactions SET "reactionType" = %s, "updatedAt" = %s WHERE id = %s'
            self._execute(update, reaction_type, now, found[0])
            self._log("reaction_changed", user, post, details=work.reaction_details(reaction_type, found[1]))
        self._execute("COMMIT")

    def unreact(self, post: int, user: int) -> None:
        self._execute(self._begin)
        found = self._reaction(post, user)
        if found is not None:
            self._execute("DELETE FROM feed_reactions WHERE id = %s", found[0])
            self._log("reaction_removed", user, post, details=work.reaction_details(found[1]))
        self._execute("COMMIT")

    def thread(self, post: int) -> list[Any]:
        rows = self._execute(
            f'SELECT {_COMMENT}, {_AUTHOR} FROM feed_comments c JOIN users u ON u.id = c."userId" '
            f'WHERE c."postId" = %s ORDER BY c."createdAt", c.id LIMIT {work.THREAD_LIMIT + 1}',
            post,
        ).fetchall()
        return work.tree(rows, key=itemgetter(0), parent=itemgetter(3))

    def reply(self, post: int, user: int, body: str, parent: int) -> None:
        self._execute(self._begin)
        sql = f'SELECT "postId", "deletedAt" FROM feed_comments WHERE id = %s{self._shared_lock}'
        assert self._execute(sql, parent).fetchone() == (post, None)
        now = self._now()
        key = self._insert(
            "feed_comments", postId=post, userId=user, parentId=parent, body=body, createdAt=now, updatedAt=now
        )
        self._log("comment_added", user, post, key, {"parentId": parent})
        self._execute("COMMIT")

    def initiate(self, account: int, reference: str) -> None:
        self._account = account
        self._payment = self._initiate(account, reference)

    def dispute(self) -> None:
        self._execute(self._begin)
        now = self._move(work.DISPUTE)
        case = self._insert(
            "dispute_cases",
            escrowTransactionId=self._payment,
            openedById=work.CUSTOMER,
            reasonCode=work.REASON,
            summary=work.SUMMARY,
            openedAt=now,
            createdAt=now,
            updatedAt=now,
        )
        self._event(case, "customer", "comment", work.SUMMARY, work.OPENING)
        self._execute("COMMIT")
        self._execute(self._begin)
        self._require_active(case)
        self._event(case, "system", "comment", work.NOTE, None)
        self._execute("COMMIT")
        self._execute(self._begin)
        now = self._move(work.REFUND)
        self._require_active(case)
        self._execute(
            "UPDATE dispute_cases SET status = 'settled', stage = 'resolved', \"resolutionNotes\" = %s, "
            '"resolvedAt" = %s, "updatedAt" = %s WHERE id = %s',
            *(work.RESOLUTION, now, now, case),
        )
        self._event(case, "admin", "status_change", work.RESOLUTION, work.ENDING)
        self._execute("COMMIT")

    def publish(self, count: int) -> None:
        self._execute(self._begin)
        for number in range(count):
            now = self._now()
            self._insert(
                "feed_posts",
                userId=number % 1000 + 1,
                content=work.CONTENT,
                visibility="public",
                metadata=json.dumps(work.METADATA),
                createdAt=now,
                updatedAt=now,
            )
        self._execute("ROLLBACK")

    def publish_all(self, count: int) -> None:
        now, metadata = self._now(), json.dumps(work.METADATA)
        rows = [(number % 1000 + 1, work.CONTENT, "public", metadata, now, now) for number in range(count)]
        self._execute(self._begin)
        self._execute(
            'INSERT INTO feed_posts ("userId", content, visibility, metadata, "createdAt", "updatedAt") VALUES '
            + ", ".join(["(%s, %s, %s, %s, %s, %s)"] * count),
            *itertools.chain.from_iterable(rows),
        )
        self._execute("ROLLBACK")

    def load_posts(self, count: int) -> list[Any]:
        return list(self._execute(f"SELECT * FROM feed_posts LIMIT {count}").fetchall())

    def load_transactions(self, count: int) -> list[Any]:
        return list(self._execute(f"SELECT * FROM escrow_transactions LIMIT {count}").fetchall())

    def release_queue(self) -> list[Any]:
        return list(
            self._execute(
                "SELECT * FROM escrow_transactions WHERE status = 'in_escrow' AND \"scheduledReleaseAt\" <= %s "
                f'ORDER BY "scheduledReleaseAt", id LIMIT {work.QUEUE}',
                self._now(),
            ).fetchall()
        )

    def find_balance_problems(self) -> list[Any]:
        amount, fee, net = map(self._exact, ("t.amount", 't."feeAmount"', 't."netAmount"'))
        balance, pending = map(self._exact, ('a."currentBalance"', 'a."pendingReleaseTotal"'))
        sums = (
            f'SELECT t."accountId" AS id, SUM({amount}) AS balance, SUM({net}) AS pending FROM escrow_transactions t '
            "WHERE t.status IN ('funded', 'in_escrow', 'disputed') GROUP BY t.\"accountId\""
        )
        return list(
            self._execute(
                f"SELECT 'account', a.id FROM escrow_accounts a LEFT JOIN ({sums}) held ON held.id = a.id "
                f"WHERE {balance} <> COALESCE(held.balance, 0) OR {pending} <> COALESCE(held.pending, 0) "
                "UNION ALL SELECT 'transaction', t.id FROM escrow_transactions t "
                f'JOIN escrow_accounts a ON a.id = t."accountId" WHERE {net} <> {amount} - {fee} '
                'OR t."currencyCode" <> a."currencyCode"'
            ).fetchall()
        )

    def escrow_totals(self) -> list[Any]:
        sums = ", ".join(f"SUM({self._exact(column)})" for column in ("amount", '"feeAmount"', '"netAmount"'))
        sql = f'SELECT status, "currencyCode", COUNT(*), {sums} FROM escrow_transactions GROUP BY 1, 2 ORDER BY 1, 2'
        return list(self._execute(sql).fetchall())

    def close(self) -> None:
        self._connection.close()

    def _execute(self, sql: str, *values: Any) -> Any:
        self._cursor.execute(sql.replace("%s", "?") if self._server == "sqlite" else sql, values)
        return self._cursor

    def _now(self) -> Any:
        return databases.stored(self._server, datetime.now(UTC))

    def _insert(self, table: str, **values: Any) -> int:
        names = ", ".join(f'"{name}"' for name in values)
        sql = f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(values))})"
        if self._has_returning:
            return int(self._execute(f"{sql} RETURNING id", *values.values()).fetchone()[0])
        return int(self._execute(sql, *values.values()).lastrowid)

    def _exact(self, amount: str) -> str:
        # SQLite stores an amount as a double.
        return f"CAST(ROUND({amount} * 10000) AS INTEGER)" if self._server == "sqlite" else amount

    def _reaction(self, post: int, user: int) -> Any:
        sql = f'SELECT id, "reactionType" FROM feed_reactions WHERE "postId" = %s AND "userId" = %s{self._lock}'
        return self._execute(sql, post, user).fetchone()

    def _log(self, action: str, actor: int, post: int, comment: int | None = None, details: Any = None) -> None:
        self._execute(
            'INSERT INTO feed_activity_logs ("postId", "commentId", "actorId", action, metadata, "createdAt") '
            "VALUES (%s, %s, %s, %s, %s, %s)",
            *(post, comment, actor, action, json.dumps(details), self._now()),
        )

    def _initiate(self, account: int, reference: str) -> int:
        self._execute(self._begin)
        newest = "(SELECT MAX(id) FROM escrow_transactions)"
        sql = f'SELECT status, "currencyCode", "userId", {newest} FROM escrow_accounts WHERE id = %s{self._lock}'
        status, currency, owner, previous = self._execute(sql, account).fetchone()
        assert status == "active"
        moment = datetime.now(UTC)
        now = databases.stored(self._server, moment)
        key = self._insert(
            "escrow_transactions",
            accountId=account,
            reference=reference,
            amount=str(work.AMOUNT),
            feeAmount=str(work.FEE),
            netAmount=str(work.NET),
            currencyCode=currency,
            initiatedById=work.PAYER,
            auditTrail=json.dumps([work.first_entry(account, owner, previous, moment)]),
            createdAt=now,
            updatedAt=now,
        )
        self._execute("COMMIT")
        return key

    def move(self, move: work.Move) -> None:
        self._execute(self._begin)
        self._move(move)
        self._execute("COMMIT")

    def _move(self, move: work.Move) -> Any:
        """Lock the transaction, and its account if money moves, and change them; return the time."""
        account = ' JOIN escrow_accounts a ON a.id = t."accountId"' if move.direction else ""
        row = self._execute(
            'SELECT t.status, t.amount, t."netAmount", t."auditTrail", (SELECT id FROM users WHERE id = %s) '
            f"FROM escrow_transactions t{account} WHERE t.id = %s{self._lock}",
            *(move.actor, self._payment),
        ).fetchone()
        status, amount, net, trail, actor = row
        assert (status, actor) == (move.before, move.actor)
        moment = datetime.now(UTC)
        now = databases.stored(self._server, moment)
        if move.action == "dispute":
            assert self._active_case() is None
        if move.direction:
            sign = "+" if move.direction > 0 else "-"
            self._execute(
                f'UPDATE escrow_accounts SET "currentBalance" = "currentBalance" {sign} %s, '
                f'"pendingReleaseTotal" = "pendingReleaseTotal" {sign} %s, "updatedAt" = %s WHERE id = %s',
                *(amount, net, now, self._account),
            )
        entries = trail if isinstance(trail, list) else json.loads(trail)
        changes = {"status": move.after, "auditTrail": json.dumps([*entries, work.entry(move, moment)])}
        if move.moment is not None:
            changes[{"released_at": "releasedAt", "refunded_at": "refundedAt"}[move.moment]] = now
        settings = ", ".join(f'"{name}" = %s' for name in (*changes, "updatedAt"))
        self._execute(f"UPDATE escrow_transactions SET {settings} WHERE id = %s", *changes.values(), now, self._payment)
        return now

    def _active_case(self) -> Any:
        return self._execute(
            'SELECT id FROM dispute_cases WHERE "escrowTransactionId" = %s '
            f"AND status IN ('open', 'awaiting_customer', 'under_review'){self._lock}",
            self._payment,
        ).fetchone()

    def _require_active(self, case: int) -> None:
        sql = f"SELECT status, (SELECT id FROM users WHERE id = %s) FROM dispute_cases WHERE id = %s{self._lock}"
        status, actor = self._execute(sql, work.CUSTOMER, case).fetchone()
        assert status in work.ACTIVE
        assert actor == work.CUSTOMER

    def _event(self, case: int, role: str, action: str, notes: str, metadata: Any) -> None:
        now = self._now()
        self._insert(
            "dispute_events",
            disputeCaseId=case,
            actorId=work.CUSTOMER,
            actorType=role,
            actionType=action,
            notes=notes,
            metadata=None if metadata is None else json.dumps(metadata),
            eventAt=now,
            createdAt=now,
            updatedAt=now,
        )
