"""Django's ORM as one would write it without the library.

It has no shared lock, so a reply locks its parent as a move locks its transaction.
"""

from datetime import UTC, datetime
from typing import Any

import django
import pymysql
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Max, Q

from benchmarks.verbs import databases, work


def now() -> datetime:
    return datetime.now(UTC)


class Peer(work.HandmadePeer):
    """One at a time: Django has the settings of its database once for the process."""

    name = "django"

    def __init__(self, url: str) -> None:
        self._server = databases.server_of(url)
        options = self._options(url)
        if settings.configured:
            connection.close()
            connection.settings_dict.update(options)
        else:
            settings.configure(DATABASES={"default": options}, USE_TZ=True, INSTALLED_APPS=[])
            django.setup()
        from benchmarks.verbs import django_models

        self._models = django_models
        connection.ensure_connection()

    def feed(self, viewer: int) -> list[Any]:
        models = self._models
        visible = Q(visibility="public") | Q(user_id=viewer)
        query = models.Post.objects.select_related("user").filter(visible).order_by("-created_at", "-id")
        posts = list(query[: work.PAGE + 1])[: work.PAGE]
        ids = [post.id for post in posts]
        reactions: dict[int, dict[str, int]] = {}
        of_page = models.Reaction.objects.filter(post_id__in=ids)
        counted = of_page.values_list("post_id", "reaction_type").annotate(count=Count("id")).order_by()
        for post_id, reaction_type, count in counted:
            reactions.setdefault(post_id, {})[reaction_type] = count
        own = dict(of_page.filter(user_id=viewer).values_list("post_id", "reaction_type"))
        live = models.Comment.objects.filter(post_id__in=ids, deleted_at=None)
        comments = dict(live.values_list("post_id").annotate(count=Count("id")).order_by())
        shared = models.Share.objects.filter(post_id__in=ids)
        shares = dict(shared.values_list("post_id").annotate(count=Count("id")).order_by())
        return [
            (post, post.user, reactions.get(post.id), own.get(post.id), comments.get(post.id), shares.get(post.id))
            for post in posts
        ]

    def react(self, post: int, user: int, reaction_type: str) -> None:
        with transaction.atomic():
            reaction, is_new = self._locked(self._models.Reaction).get_or_create(
                post_id=post, user_id=user, defaults={"reaction_type": reaction_type}
            )
            if is_new:
                action, details = "reaction_added", work.reaction_details(reaction_type)
            elif reaction.reaction_type == reaction_type:
                return
            else:
                action, details = "reaction_changed", work.reaction_details(reaction_type, reaction.reaction_type)
                self._save(reaction, reaction_type=reaction_type)
            self._models.Log.objects.create(post_id=post, actor_id=user, action=action, metadata=details)

    def unreact(self, post: int, user: int) -> None:
        with transaction.atomic():
            reaction = self._locked(self._models.Reaction).filter(post_id=post, user_id=user).first()
            if reaction is not None:
                details = work.reaction_details(reaction.reaction_type)
                reaction.delete()
                self._models.Log.objects.create(
                    post_id=post, actor_id=user, action="reaction_removed", metadata=details
                )

    def thread(self, post: int) -> list[Any]:
        query = self._models.Comment.objects.select_related("user").filter(post_id=post)
        rows = list(query.order_by("created_at", "id")[: work.THREAD_LIMIT + 1])
        return work.tree(rows, key=lambda row: row.id, parent=lambda row: row.parent_id)

    def reply(self, post: int, user: int, body: str, parent: int) -> None:
        with transaction.atomic():
            above = self._locked(self._models.Comment).get(id=parent)
            assert (above.post_id, above.deleted_at) == (post, None)
            comment = self._models.Comment.objects.create(post_id=post, user_id=user, parent_id=parent, body=body)
            self._models.Log.objects.create(
                post_id=post,
                comment_id=comment.id,
                actor_id=user,
                action="comment_added",
                metadata={"parentId": parent},
            )

    def initiate(self, account: int, reference: str) -> None:
        with transaction.atomic():
            holder = self._locked(self._models.Account).get(id=account)
            assert holder.status == "active"
            previous = self._models.Transaction.objects.aggregate(newest=Max("id"))["newest"]
            payment, _ = self._models.Transaction.objects.get_or_create(
                reference=reference,
                defaults={
                    "account_id": account,
                    "amount": work.AMOUNT,
                    "fee_amount": work.FEE,
                    "net_amount": work.NET,
                    "currency_code": holder.currency_code,
                    "initiated_by_id": work.PAYER,
                    "audit_trail": [work.first_entry(account, holder.user_id, previous, now())],
                },
            )
        self._payment = payment.id

    def dispute(self) -> None:
        with transaction.atomic():
            self._move(work.DISPUTE)
            case = self._models.Case.objects.create(
                transaction_id=self._payment,
                opened_by_id=work.CUSTOMER,
                reason_code=work.REASON,
                summary=work.SUMMARY,
            )
            self._event(case.id, "customer", "comment", work.SUMMARY, work.OPENING)
        with transaction.atomic():
            self._active(case.id)
            self._event(case.id, "system", "comment", work.NOTE, None)
        with transaction.atomic():
            moment = self._move(work.REFUND)
            fresh = self._active(case.id)
            changes = {"status": "settled", "stage": "resolved", "resolution_notes": work.RESOLUTION}
            self._save(fresh, resolved_at=moment, **changes)
            self._event(case.id, "admin", "status_change", work.RESOLUTION, work.ENDING)

    def publish(self, count: int) -> None:
        with transaction.atomic():
            for number in range(count):
                self._models.Post.objects.create(
                    user_id=number % 1000 + 1, content=work.CONTENT, metadata=work.METADATA
                )
            transaction.set_rollback(True)

    def publish_all(self, count: int) -> None:
        posts = [
            self._models.Post(user_id=number % 1000 + 1, content=work.CONTENT, metadata=work.METADATA)
            for number in range(count)
        ]
        with transaction.atomic():
            self._models.Post.objects.bulk_create(posts)
            transaction.set_rollback(True)

    def load_posts(self, count: int) -> list[Any]:
        return list(self._models.Post.objects.all()[:count])

    def load_transactions(self, count: int) -> list[Any]:
        return list(self._models.Transaction.objects.all()[:count])

    def release_queue(self) -> list[Any]:
        due = self._models.Transaction.objects.filter(status="in_escrow", scheduled_release_at__lte=now())
        return list(due.order_by("scheduled_release_at", "id")[: work.QUEUE])

    def close(self) -> None:
        connection.close()

    def _options(self, url: str) -> dict[str, Any]:
        if self._server == "sqlite":
            return {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": databases.path_of(url),
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
            }
        address = databases.address_of(url)
        options = {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": address["host"],
            "PORT": address["port"],
            "USER": address["user"],
            "PASSWORD": address["password"],
            "NAME": address["database"],
            "CONN_MAX_AGE": None,
            "OPTIONS": {"sslmode": "disable"},
        }
        if self._server != "postgres":
            # Django asks for mysqlclient, in whose place PyMySQL offers itself.
            pymysql.version_info = (2, 2, 6, "final", 0)
            pymysql.install_as_MySQLdb()
            options["ENGINE"] = "django.db.backends.mysql"
            options["OPTIONS"] = {"isolation_level": "read committed", "charset": "utf8mb4", "ssl_disabled": True}
        return options

    def _locked(self, model: Any) -> Any:
        return model.objects.select_for_update(no_key=self._server == "postgres")

    @staticmethod
    def _save(row: Any, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(row, name, value)
        row.save(update_fields=[*changes, "updated_at"])

    def move(self, move: work.Move) -> None:
        with transaction.atomic():
            self._move(move)

    def _move(self, move: work.Move) -> datetime:
        """Lock the transaction, and its account if money moves, and change them; return the time."""
        models = self._models
        payment = self._locked(models.Transaction).get(id=self._payment)
        assert payment.status == move.before
        assert models.User.objects.filter(id=move.actor).exists()
        if move.action == "dispute":
            active = self._locked(models.Case).filter(transaction_id=payment.id, status__in=work.ACTIVE)
            assert active.first() is None
        moment = now()
        if move.direction:
            account = self._locked(models.Account).get(id=payment.account_id)
            self._save(
                account,
                current_balance=account.current_balance + move.direction * payment.amount,
                pending_release_total=account.pending_release_total + move.direction * payment.net_amount,
            )
        changes = {"status": move.after, "audit_trail": [*payment.audit_trail, work.entry(move, moment)]}
        if move.moment is not None:
            changes[move.moment] = moment
        self._save(payment, **changes)
        return moment

    def _active(self, case_id: int) -> Any:
        case = self._locked(self._models.Case).get(id=case_id)
        assert case.status in work.ACTIVE
        assert self._models.User.objects.filter(id=work.CUSTOMER).exists()
        return case

    def _event(self, case_id: int, role: str, action: str, notes: str, metadata: Any) -> None:
        self._models.Event.objects.create(
            case_id=case_id,
            actor_id=work.CUSTOMER,
            actor_type=role,
            action_type=action,
            notes=notes,
            metadata=metadata,
        )
