"""SQLAlchemy's ORM as one would write it without the library."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, relationship

from benchmarks.verbs import databases, work


def now() -> datetime:
    return datetime.now(UTC)


class Moment(sa.TypeDecorator[datetime]):
    """An aware time; on SQLite the text that Sequelize writes."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        return dialect.type_descriptor(sa.String() if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        server = {"postgresql": "postgres"}.get(dialect.name, dialect.name)
        return None if value is None else databases.stored(server, value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        if value is None or dialect.name == "postgresql":
            return value
        return databases.loaded(value) if dialect.name == "sqlite" else value.replace(tzinfo=UTC)


class Row(DeclarativeBase):
    type_annotation_map = {
        datetime: Moment,
        Decimal: sa.Numeric(18, 4),
        dict: sa.JSON(none_as_null=True),
        list: sa.JSON(none_as_null=True),
    }


class TimedRow:
    created_at: Mapped[datetime] = mapped_column("createdAt", default=now)
    updated_at: Mapped[datetime] = mapped_column("updatedAt", default=now, onupdate=now)


def enum(name: str, *labels: str) -> sa.Enum:
    return sa.Enum(*labels, name=f"enum_{name}")


class User(TimedRow, Row):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    first_name: Mapped[str] = mapped_column("firstName")
    last_name: Mapped[str] = mapped_column("lastName")
    email: Mapped[str]


class Post(TimedRow, Row):
    __tablename__ = "feed_posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column("userId", sa.ForeignKey(User.id))
    content: Mapped[str]
    visibility: Mapped[str] = mapped_column(enum("feed_posts_visibility", "public", "connections"), default="public")
    details: Mapped[dict | None] = mapped_column("metadata")
    user: Mapped[User] = relationship()


class Reaction(TimedRow, Row):
    __tablename__ = "feed_reactions"
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column("postId", sa.ForeignKey(Post.id))
    user_id: Mapped[int] = mapped_column("userId", sa.ForeignKey(User.id))
    reaction_type: Mapped[str] = mapped_column(
        "reactionType",
        enum("feed_reactions_reactionType", "like", "celebrate", "support", "love", "insightful"),
    )


class Comment(TimedRow, Row):
    __tablename__ = "feed_comments"
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column("postId", sa.ForeignKey(Post.id))
    user_id: Mapped[int] = mapped_column("userId", sa.ForeignKey(User.id))
    parent_id: Mapped[int | None] = mapped_column("parentId", sa.ForeignKey("feed_comments.id"))
    body: Mapped[str]
    details: Mapped[dict | None] = mapped_column("metadata")
    deleted_at: Mapped[datetime | None] = mapped_column("deletedAt")
    user: Mapped[User] = relationship()


class Share(Row):
    __tablename__ = "feed_shares"
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column("postId", sa.ForeignKey(Post.id))


class Log(Row):
    __tablename__ = "feed_activity_logs"
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int | None] = mapped_column("postId", sa.ForeignKey(Post.id))
    comment_id: Mapped[int | None] = mapped_column("commentId")
    actor_id: Mapped[int | None] = mapped_column("actorId", sa.ForeignKey(User.id))
    action: Mapped[str]
    details: Mapped[dict | None] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column("createdAt", default=now)


class Account(TimedRow, Row):
    __tablename__ = "escrow_accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column("userId", sa.ForeignKey(User.id))
    provider: Mapped[str]
    external_id: Mapped[str | None] = mapped_column("externalId")
    status: Mapped[str] = mapped_column(enum("escrow_accounts_status", "pending", "active", "suspended", "closed"))
    currency_code: Mapped[str] = mapped_column("currencyCode")
    current_balance: Mapped[Decimal] = mapped_column("currentBalance")
    pending_release_total: Mapped[Decimal] = mapped_column("pendingReleaseTotal")
    details: Mapped[dict | None] = mapped_column("metadata")
    last_reconciled_at: Mapped[datetime | None] = mapped_column("lastReconciledAt")


class Transaction(TimedRow, Row):
    __tablename__ = "escrow_transactions"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column("accountId", sa.ForeignKey(Account.id))
    reference: Mapped[str]
    external_id: Mapped[str | None] = mapped_column("externalId")
    type: Mapped[str] = mapped_column(
        enum("escrow_transactions_type", "project", "gig", "milestone", "retainer"), default="project"
    )
    status: Mapped[str] = mapped_column(
        enum(
            "escrow_transactions_status",
            *("initiated", "funded", "in_escrow", "released", "refunded", "cancelled", "disputed"),
        ),
        default="initiated",
    )
    amount: Mapped[Decimal]
    currency_code: Mapped[str] = mapped_column("currencyCode")
    fee_amount: Mapped[Decimal] = mapped_column("feeAmount")
    net_amount: Mapped[Decimal] = mapped_column("netAmount")
    initiated_by_id: Mapped[int] = mapped_column("initiatedById", sa.ForeignKey(User.id))
    counterparty_id: Mapped[int | None] = mapped_column("counterpartyId", sa.ForeignKey(User.id))
    project_id: Mapped[int | None] = mapped_column("projectId")
    gig_id: Mapped[int | None] = mapped_column("gigId")
    milestone_label: Mapped[str | None] = mapped_column("milestoneLabel")
    scheduled_release_at: Mapped[datetime | None] = mapped_column("scheduledReleaseAt")
    released_at: Mapped[datetime | None] = mapped_column("releasedAt")
    refunded_at: Mapped[datetime | None] = mapped_column("refundedAt")
    cancelled_at: Mapped[datetime | None] = mapped_column("cancelledAt")
    details: Mapped[dict | None] = mapped_column("metadata")
    audit_trail: Mapped[list | None] = mapped_column("auditTrail")


class Case(TimedRow, Row):
    __tablename__ = "dispute_cases"
    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_id: Mapped[int] = mapped_column("escrowTransactionId", sa.ForeignKey(Transaction.id))
    opened_by_id: Mapped[int] = mapped_column("openedById", sa.ForeignKey(User.id))
    stage: Mapped[str] = mapped_column(
        enum("dispute_cases_stage", "intake", "mediation", "arbitration", "resolved"), default="intake"
    )
    status: Mapped[str] = mapped_column(enum("dispute_cases_status", *work.ACTIVE, "settled", "closed"), default="open")
    reason_code: Mapped[str] = mapped_column("reasonCode")
    summary: Mapped[str]
    resolution_notes: Mapped[str | None] = mapped_column("resolutionNotes")
    opened_at: Mapped[datetime] = mapped_column("openedAt", default=now)
    resolved_at: Mapped[datetime | None] = mapped_column("resolvedAt")


class Event(TimedRow, Row):
    __tablename__ = "dispute_events"
    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column("disputeCaseId", sa.ForeignKey(Case.id))
    actor_id: Mapped[int | None] = mapped_column("actorId", sa.ForeignKey(User.id))
    actor_type: Mapped[str] = mapped_column(
        "actorType", enum("dispute_events_actorType", "customer", "provider", "mediator", "admin", "system")
    )
    action_type: Mapped[str] = mapped_column(
        "actionType",
        enum(
            "dispute_events_actionType",
            *("comment", "evidence_upload", "deadline_adjusted", "stage_advanced", "status_change", "system_notice"),
        ),
    )
    notes: Mapped[str | None]
    details: Mapped[dict | None] = mapped_column("metadata")
    event_at: Mapped[datetime] = mapped_column("eventAt", default=now)


class Peer(work.HandmadePeer):
    name = "sqlalchemy"

    def __init__(self, url: str) -> None:
        self._is_writing = False
        self._engine = self._open(url)

    def feed(self, viewer: int) -> list[Any]:
        with self._session() as session:
            posts = session.scalars(
                select(Post)
                .options(joinedload(Post.user))
                .where((Post.visibility == "public") | (Post.user_id == viewer))
                .order_by(Post.created_at.desc(), Post.id.desc())
                .limit(work.PAGE + 1)
            ).all()[: work.PAGE]
            ids = [post.id for post in posts]
            reactions: dict[int, dict[str, int]] = {}
            counted = (
                select(Reaction.post_id, Reaction.reaction_type, func.count(Reaction.id))
                .where(Reaction.post_id.in_(ids))
                .group_by(Reaction.post_id, Reaction.reaction_type)
            )
            for post_id, reaction_type, count in session.execute(counted):
                reactions.setdefault(post_id, {})[reaction_type] = count
            own_query = select(Reaction.post_id, Reaction.reaction_type).where(
                Reaction.post_id.in_(ids), Reaction.user_id == viewer
            )
            comments_query = (
                select(Comment.post_id, func.count(Comment.id))
                .where(Comment.post_id.in_(ids), Comment.deleted_at.is_(None))
                .group_by(Comment.post_id)
            )
            shares_query = (
                select(Share.post_id, func.count(Share.id)).where(Share.post_id.in_(ids)).group_by(Share.post_id)
            )
            own, comments, shares = (
                dict(session.execute(query).tuples().all()) for query in (own_query, comments_query, shares_query)
            )
            return [
                (post, post.user, reactions.get(post.id), own.get(post.id), comments.get(post.id), shares.get(post.id))
                for post in posts
            ]

    def react(self, post: int, user: int, reaction_type: str) -> None:
        with self._session(is_writing=True) as session, session.begin():
            reaction = self._reaction(session, post, user)
            if reaction is None:
                with session.begin_nested():
                    session.add(Reaction(post_id=post, user_id=user, reaction_type=reaction_type))
                action, details = "reaction_added", work.reaction_details(reaction_type)
            elif reaction.reaction_type == reaction_type:
                return
            else:
                action, details = "reaction_changed", work.reaction_details(reaction_type, reaction.reaction_type)
                reaction.reaction_type = reaction_type
            session.add(Log(post_id=post, actor_id=user, action=action, details=details))

    def unreact(self, post: int, user: int) -> None:
        with self._session(is_writing=True) as session, session.begin():
            reaction = self._reaction(session, post, user)
            if reaction is not None:
                session.delete(reaction)
                details = work.reaction_details(reaction.reaction_type)
                session.add(Log(post_id=post, actor_id=user, action="reaction_removed", details=details))

    def thread(self, post: int) -> list[Any]:
        query = (
            select(Comment)
            .options(joinedload(Comment.user))
            .where(Comment.post_id == post)
            .order_by(Comment.created_at, Comment.id)
            .limit(work.THREAD_LIMIT + 1)
        )
        with self._session() as session:
            rows = session.scalars(query).all()
        return work.tree(rows, key=lambda row: row.id, parent=lambda row: row.parent_id)

    def reply(self, post: int, user: int, body: str, parent: int) -> None:
        with self._session(is_writing=True) as session, session.begin():
            above = session.get_one(Comment, parent, with_for_update={"read": True})
            assert (above.post_id, above.deleted_at) == (post, None)
            comment = Comment(post_id=post, user_id=user, parent_id=parent, body=body)
            session.add(comment)
            session.flush()
            details = {"parentId": parent}
            session.add(
                Log(post_id=post, comment_id=comment.id, actor_id=user, action="comment_added", details=details)
            )

    def initiate(self, account: int, reference: str) -> None:
        with self._session(is_writing=True) as session, session.begin():
            holder = session.get_one(Account, account, with_for_update=self._lock)
            assert holder.status == "active"
            previous = session.scalar(select(func.max(Transaction.id)))
            moment = now()
            payment = Transaction(
                account_id=account,
                reference=reference,
                amount=work.AMOUNT,
                fee_amount=work.FEE,
                net_amount=work.NET,
                currency_code=holder.currency_code,
                initiated_by_id=work.PAYER,
                audit_trail=[work.first_entry(account, holder.user_id, previous, moment)],
                created_at=moment,
                updated_at=moment,
            )
            with session.begin_nested():
                session.add(payment)
        self._payment = payment.id

    def dispute(self) -> None:
        with self._session(is_writing=True) as session, session.begin():
            self._move(session, work.DISPUTE)
            case = Case(
                transaction_id=self._payment,
                opened_by_id=work.CUSTOMER,
                reason_code=work.REASON,
                summary=work.SUMMARY,
            )
            session.add(case)
            session.flush()
            session.add(self._event(case.id, "customer", "comment", work.SUMMARY, work.OPENING))
        with self._session(is_writing=True) as session, session.begin():
            self._active(session, case.id)
            session.add(self._event(case.id, "system", "comment", work.NOTE, None))
        with self._session(is_writing=True) as session, session.begin():
            moment = self._move(session, work.REFUND)
            fresh = self._active(session, case.id)
            fresh.status, fresh.stage = "settled", "resolved"
            fresh.resolution_notes, fresh.resolved_at = work.RESOLUTION, moment
            session.add(self._event(case.id, "admin", "status_change", work.RESOLUTION, work.ENDING))

    def publish(self, count: int) -> None:
        with self._session(is_writing=True) as session, session.begin() as transaction:
            for number in range(count):
                session.add(Post(user_id=number % 1000 + 1, content=work.CONTENT, details=work.METADATA))
                session.flush()
            transaction.rollback()

    def publish_all(self, count: int) -> None:
        rows = [
            {"user_id": number % 1000 + 1, "content": work.CONTENT, "details": work.METADATA} for number in range(count)
        ]
        with self._session(is_writing=True) as session, session.begin() as transaction:
            session.execute(sa.insert(Post), rows)
            transaction.rollback()

    def load_posts(self, count: int) -> list[Any]:
        with self._session() as session:
            return list(session.scalars(select(Post).limit(count)))

    def load_transactions(self, count: int) -> list[Any]:
        with self._session() as session:
            return list(session.scalars(select(Transaction).limit(count)))

    def release_queue(self) -> list[Any]:
        query = (
            select(Transaction)
            .where(Transaction.status == "in_escrow", Transaction.scheduled_release_at <= now())
            .order_by(Transaction.scheduled_release_at, Transaction.id)
            .limit(work.QUEUE)
        )
        with self._session() as session:
            return list(session.scalars(query))

    def close(self) -> None:
        self._engine.dispose()

    def _open(self, url: str) -> sa.Engine:
        address, server = sa.make_url(url), databases.server_of(url)
        if server == "sqlite":
            return self._open_sqlite(url)
        if server == "postgres":
            options = {"options": "-c timezone=UTC"}
            return sa.create_engine(address.set(drivername="postgresql+psycopg2"), connect_args=options)
        address = address.set(drivername=f"{server}+pymysql").update_query_dict({"charset": "utf8mb4"})
        return sa.create_engine(address, connect_args={"init_command": databases.session_sql(server)})

    def _open_sqlite(self, url: str) -> sa.Engine:
        engine = sa.create_engine(url)

        @sa.event.listens_for(engine, "connect")
        def set_up(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA foreign_keys = ON")

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if self._is_writing else "BEGIN")

        return engine

    def _session(self, is_writing: bool = False) -> Session:
        self._is_writing = is_writing
        return Session(self._engine, expire_on_commit=False)

    # FOR NO KEY UPDATE on PostgreSQL, FOR UPDATE elsewhere.
    _lock: Any = {"key_share": True}

    def _reaction(self, session: Session, post: int, user: int) -> Reaction | None:
        query = select(Reaction).where(Reaction.post_id == post, Reaction.user_id == user)
        return session.scalars(query.with_for_update(**self._lock)).first()

    def move(self, move: work.Move) -> None:
        with self._session(is_writing=True) as session, session.begin():
            self._move(session, move)

    def _move(self, session: Session, move: work.Move) -> datetime:
        """Lock the transaction, and its account if money moves, and change them; return the time."""
        payment = session.get_one(Transaction, self._payment, with_for_update=self._lock)
        assert payment.status == move.before
        assert session.scalar(select(sa.exists().where(User.id == move.actor)))
        if move.action == "dispute":
            active = select(Case).where(Case.transaction_id == payment.id, Case.status.in_(work.ACTIVE))
            assert session.scalars(active.with_for_update(**self._lock)).first() is None
        moment = now()
        if move.direction:
            account = session.get_one(Account, payment.account_id, with_for_update=self._lock)
            account.current_balance += move.direction * payment.amount
            account.pending_release_total += move.direction * payment.net_amount
        payment.status = move.after
        payment.audit_trail = [*(payment.audit_trail or []), work.entry(move, moment)]
        if move.moment is not None:
            setattr(payment, move.moment, moment)
        return moment

    def _active(self, session: Session, case_id: int) -> Case:
        case = session.get_one(Case, case_id, with_for_update=self._lock)
        assert case.status in work.ACTIVE
        assert session.scalar(select(sa.exists().where(User.id == work.CUSTOMER)))
        return case

    @staticmethod
    def _event(case_id: int, role: str, action: str, notes: str, details: dict[str, Any] | None) -> Event:
        return Event(
            case_id=case_id,
            actor_id=work.CUSTOMER,
            actor_type=role,
            action_type=action,
            notes=notes,
            details=details,
        )
