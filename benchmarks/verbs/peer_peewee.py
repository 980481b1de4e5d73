"""peewee as one would write it without the library: ordinary models, a savepoint where an insert may lose a race."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import peewee
from peewee import fn

from benchmarks.verbs import databases, work

_database = peewee.DatabaseProxy()


def now() -> datetime:
    """Return the time as the server has it: MySQL and MariaDB take naive ones."""
    moment = datetime.now(UTC)
    return moment.replace(tzinfo=None) if isinstance(_database.obj, peewee.MySQLDatabase) else moment


class MomentField(peewee.DateTimeField):
    """A time; on SQLite the text that Sequelize writes."""

    def db_value(self, value: datetime | None) -> Any:
        if value is None or not isinstance(_database.obj, peewee.SqliteDatabase):
            return value
        return databases.stored("sqlite", value)

    def python_value(self, value: Any) -> datetime | None:
        return databases.loaded(value) if isinstance(value, str) else value


def moment(name: str, **options: Any) -> MomentField:
    return MomentField(column_name=name, **options)


def key(model: Any, name: str, attribute: str, **options: Any) -> peewee.ForeignKeyField:
    return peewee.ForeignKeyField(model, column_name=name, object_id_name=attribute, backref="+", **options)


def money(name: str) -> peewee.DecimalField:
    return peewee.DecimalField(max_digits=18, decimal_places=4, column_name=name)


class Row(peewee.Model):
    class Meta:
        database = _database
        legacy_table_names = False


class TimedRow(Row):
    created_at = moment("createdAt", default=now)
    updated_at = moment("updatedAt", default=now)


class User(TimedRow):
    first_name = peewee.CharField(column_name="firstName")
    last_name = peewee.CharField(column_name="lastName")
    email = peewee.CharField()

    class Meta:
        table_name = "users"


class Post(TimedRow):
    user = key(User, "userId", "user_id")
    content = peewee.TextField()
    visibility = peewee.CharField(default="public")
    metadata = peewee.JSONField(null=True)

    class Meta:
        table_name = "feed_posts"


class Reaction(TimedRow):
    post = key(Post, "postId", "post_id")
    user = key(User, "userId", "user_id")
    reaction_type = peewee.CharField(column_name="reactionType")

    class Meta:
        table_name = "feed_reactions"


class Comment(TimedRow):
    post = key(Post, "postId", "post_id")
    user = key(User, "userId", "user_id")
    parent = key("self", "parentId", "parent_id", null=True)
    body = peewee.TextField()
    metadata = peewee.JSONField(null=True)
    deleted_at = moment("deletedAt", null=True)

    class Meta:
        table_name = "feed_comments"


class Share(Row):
    post = key(Post, "postId", "post_id")

    class Meta:
        table_name = "feed_shares"


class Log(Row):
    post = key(Post, "postId", "post_id", null=True)
    comment_id = peewee.IntegerField(column_name="commentId", null=True)
    actor = key(User, "actorId", "actor_id", null=True)
    action = peewee.CharField()
    metadata = peewee.JSONField(null=True)
    created_at = moment("createdAt", default=now)

    class Meta:
        table_name = "feed_activity_logs"


class Account(TimedRow):
    user = key(User, "userId", "user_id")
    provider = peewee.CharField()
    external_id = peewee.CharField(column_name="externalId", null=True)
    status = peewee.CharField()
    currency_code = peewee.CharField(column_name="currencyCode")
    current_balance = money("currentBalance")
    pending_release_total = money("pendingReleaseTotal")
    metadata = peewee.JSONField(null=True)
    last_reconciled_at = moment("lastReconciledAt", null=True)

    class Meta:
        table_name = "escrow_accounts"


class Transaction(TimedRow):
    account = key(Account, "accountId", "account_id")
    reference = peewee.CharField()
    external_id = peewee.CharField(column_name="externalId", null=True)
    type = peewee.CharField(default="project")
    status = peewee.CharField(default="initiated")
    amount = money("amount")
    currency_code = peewee.CharField(column_name="currencyCode")
    fee_amount = money("feeAmount")
    net_amount = money("netAmount")
    initiated_by = key(User, "initiatedById", "initiated_by_id")
    counterparty = key(User, "counterpartyId", "counterparty_id", null=True)
    project_id = peewee.IntegerField(column_name="projectId", null=True)
    gig_id = peewee.IntegerField(column_name="gigId", null=True)
    milestone_label = peewee.CharField(column_name="milestoneLabel", null=True)
    scheduled_release_at = moment("scheduledReleaseAt", null=True)
    released_at = moment("releasedAt", null=True)
    refunded_at = moment("refundedAt", null=True)
    cancelled_at = moment("cancelledAt", null=True)
    metadata = peewee.JSONField(null=True)
    audit_trail = peewee.JSONField(column_name="auditTrail", null=True)

    class Meta:
        table_name = "escrow_transactions"


class Case(TimedRow):
    transaction = key(Transaction, "escrowTransactionId", "transaction_id")
    opened_by = key(User, "openedById", "opened_by_id")
    stage = peewee.CharField(default="intake")
    status = peewee.CharField(default="open")
    priority = peewee.CharField(default="medium")
    reason_code = peewee.CharField(column_name="reasonCode")
    summary = peewee.TextField()
    resolution_notes = peewee.TextField(column_name="resolutionNotes", null=True)
    opened_at = moment("openedAt", default=now)
    resolved_at = moment("resolvedAt", null=True)

    class Meta:
        table_name = "dispute_cases"


class Event(TimedRow):
    case = key(Case, "disputeCaseId", "case_id")
    actor = key(User, "actorId", "actor_id", null=True)
    actor_type = peewee.CharField(column_name="actorType")
    action_type = peewee.CharField(column_name="actionType")
    notes = peewee.TextField(null=True)
    metadata = peewee.JSONField(null=True)
    event_at = moment("eventAt", default=now)

    class Meta:
        table_name = "dispute_events"


class Peer(work.HandmadePeer):
    name = "peewee"

    def __init__(self, url: str) -> None:
        self._server = databases.server_of(url)
        if self._server == "mariadb":
            raise work.Missing("peewee's JSONField writes CAST(... AS JSON), which MariaDB does not know")
        self._database = self._open(url)
        _database.initialize(self._database)
        self._database.connect()

    def feed(self, viewer: int) -> list[Any]:
        posts = list(
            Post.select(Post, User)
            .join(User)
            .where((Post.visibility == "public") | (Post.user == viewer))
            .order_by(Post.created_at.desc(), Post.id.desc())
            .limit(work.PAGE + 1)
        )[: work.PAGE]
        ids = [post.id for post in posts]
        reactions: dict[int, dict[str, int]] = {}
        counted = (
            Reaction.select(Reaction.post, Reaction.reaction_type, fn.COUNT(Reaction.id))
            .where(Reaction.post.in_(ids))
            .group_by(Reaction.post, Reaction.reaction_type)
        )
        for post_id, reaction_type, count in counted.tuples():
            reactions.setdefault(post_id, {})[reaction_type] = count
        own = dict(
            Reaction.select(Reaction.post, Reaction.reaction_type)
            .where(Reaction.post.in_(ids), Reaction.user == viewer)
            .tuples()
        )
        comments = dict(
            Comment.select(Comment.post, fn.COUNT(Comment.id))
            .where(Comment.post.in_(ids), Comment.deleted_at.is_null())
            .group_by(Comment.post)
            .tuples()
        )
        shares = dict(
            Share.select(Share.post, fn.COUNT(Share.id)).where(Share.post.in_(ids)).group_by(Share.post).tuples()
        )
        return [
            (post, post.user, reactions.get(post.id, {}), own.get(post.id), comments.get(post.id), shares.get(post.id))
            for post in posts
        ]

    def react(self, post: int, user: int, reaction_type: str) -> None:
        with self._transaction():
            reaction = self._locked(Reaction.select().where(Reaction.post == post, Reaction.user == user)).first()
            if reaction is None:
                with self._database.atomic():
                    Reaction.create(post=post, user=user, reaction_type=reaction_type)
                action, details = "reaction_added", work.reaction_details(reaction_type)
            elif reaction.reaction_type == reaction_type:
                return
            else:
                action, details = "reaction_changed", work.reaction_details(reaction_type, reaction.reaction_type)
                self._save(reaction, now(), reaction_type=reaction_type)
            Log.create(post=post, actor=user, action=action, metadata=details)

    def unreact(self, post: int, user: int) -> None:
        with self._transaction():
            reaction = self._locked(Reaction.select().where(Reaction.post == post, Reaction.user == user)).first()
            if reaction is not None:
                reaction.delete_instance()
                details = work.reaction_details(reaction.reaction_type)
                Log.create(post=post, actor=user, action="reaction_removed", metadata=details)

    def thread(self, post: int) -> list[Any]:
        query = Comment.select(Comment, User).join(User).where(Comment.post == post)
        rows = list(query.order_by(Comment.created_at, Comment.id).limit(work.THREAD_LIMIT + 1))
        return work.tree(rows, key=lambda row: row.id, parent=lambda row: row.parent_id)

    def reply(self, post: int, user: int, body: str, parent: int) -> None:
        with self._transaction():
            above = self._locked(Comment.select().where(Comment.id == parent), shared=True).get()
            assert (above.post_id, above.deleted_at) == (post, None)
            comment = Comment.create(post=post, user=user, parent=parent, body=body)
            details = {"parentId": parent}
            Log.create(post=post, comment_id=comment.id, actor=user, action="comment_added", metadata=details)

    def initiate(self, account: int, reference: str) -> None:
        with self._transaction():
            holder = self._locked(Account.select().where(Account.id == account)).get()
            assert holder.status == "active"
            previous = Transaction.select(fn.MAX(Transaction.id)).scalar()
            moment = now()
            with self._database.atomic():
                payment = Transaction.create(
                    account=account,
                    reference=reference,
                    amount=work.AMOUNT,
                    fee_amount=work.FEE,
                    net_amount=work.NET,
                    currency_code=holder.currency_code,
                    initiated_by=work.PAYER,
                    audit_trail=[work.first_entry(account, holder.user_id, previous, moment)],
                    created_at=moment,
                    updated_at=moment,
                )
        self._payment = payment.id

    def dispute(self) -> None:
        with self._transaction():
            self._move(work.DISPUTE)
            case = Case.create(
                transaction=self._payment, opened_by=work.CUSTOMER, reason_code=work.REASON, summary=work.SUMMARY
            )
            self._event(case.id, "customer", "comment", work.SUMMARY, work.OPENING)
        with self._transaction():
            self._active(case.id)
            self._event(case.id, "system", "comment", work.NOTE, None)
        with self._transaction():
            moment = self._move(work.REFUND)
            fresh = self._active(case.id)
            changes = {"status": "settled", "stage": "resolved", "resolution_notes": work.RESOLUTION}
            self._save(fresh, moment, resolved_at=moment, **changes)
            self._event(case.id, "admin", "status_change", work.RESOLUTION, work.ENDING)

    def publish(self, count: int) -> None:
        with self._database.atomic() as transaction:
            for number in range(count):
                Post.create(user=number % 1000 + 1, content=work.CONTENT, metadata=work.METADATA)
            transaction.rollback()

    def publish_all(self, count: int) -> None:
        with self._database.atomic() as transaction:
            Post.insert_many(work.new_posts(count)).execute()
            transaction.rollback()

    def load_posts(self, count: int) -> list[Any]:
        return list(Post.select().limit(count))

    def load_transactions(self, count: int) -> list[Any]:
        return list(Transaction.select().limit(count))

    def release_queue(self) -> list[Any]:
        return list(
            Transaction.select()
            .where(Transaction.status == "in_escrow", Transaction.scheduled_release_at <= now())
            .order_by(Transaction.scheduled_release_at, Transaction.id)
            .limit(work.QUEUE)
        )

    def close(self) -> None:
        self._database.close()

    def _open(self, url: str) -> peewee.Database:
        if self._server == "sqlite":
            pragmas = {"foreign_keys": 1, "journal_mode": "wal"}
            return peewee.SqliteDatabase(databases.path_of(url), pragmas=pragmas)
        address = databases.address_of(url)
        if self._server == "postgres":
            options = {"sslmode": "disable", "options": "-c timezone=UTC"}
            return peewee.PostgresqlDatabase(**address, **options)
        options = {"charset": "utf8mb4", "ssl_disabled": True, "init_command": databases.session_sql(self._server)}
        return peewee.MySQLDatabase(**address, **options)

    def _transaction(self) -> AbstractContextManager[Any]:
        return self._database.atomic("IMMEDIATE") if self._server == "sqlite" else self._database.atomic()

    def _locked(self, query: Any, shared: bool = False) -> Any:
        if self._server == "sqlite":
            return query
        if self._server == "postgres":
            return query.for_update("FOR SHARE" if shared else "FOR NO KEY UPDATE")
        return query.for_update("LOCK IN SHARE MODE" if shared else "FOR UPDATE")

    def _save(self, row: Any, moment: datetime, **changes: Any) -> None:
        changes["updated_at"] = moment
        for name, value in changes.items():
            setattr(row, name, value)
        row.save(only=list(changes))

    def move(self, move: work.Move) -> None:
        with self._transaction():
            self._move(move)

    def _move(self, move: work.Move) -> datetime:
        """Lock the transaction, and its account if money moves, and change them; return the time."""
        payment = self._locked(Transaction.select().where(Transaction.id == self._payment)).get()
        assert payment.status == move.before
        assert User.select().where(User.id == move.actor).exists()
        if move.action == "dispute":
            active = (Case.transaction == payment.id) & Case.status.in_(work.ACTIVE)
            assert self._locked(Case.select().where(active)).first() is None
        moment = now()
        if move.direction:
            account = self._locked(Account.select().where(Account.id == payment.account_id)).get()
            self._save(
                account,
                moment,
                current_balance=account.current_balance + move.direction * payment.amount,
                pending_release_total=account.pending_release_total + move.direction * payment.net_amount,
            )
        changes = {"status": move.after, "audit_trail": [*payment.audit_trail, work.entry(move, moment)]}
        if move.moment is not None:
            changes[move.moment] = moment
        self._save(payment, moment, **changes)
        return moment

    def _active(self, case_id: int) -> Case:
        case: Case = self._locked(Case.select().where(Case.id == case_id)).get()
        assert case.status in work.ACTIVE
        assert User.select().where(User.id == work.CUSTOMER).exists()
        return case

    def _event(self, case_id: int, role: str, action: str, notes: str, metadata: Any) -> None:
        Event.create(
            case=case_id, actor=work.CUSTOMER, actor_type=role, action_type=action, notes=notes, metadata=metadata
        )
