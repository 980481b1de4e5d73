"""engagement_db itself."""

from collections.abc import Sequence
from typing import Any

import engagement_db as edb
from benchmarks.verbs import work


class Peer(work.Peer):
    name = "engagement_db"

    def __init__(self, url: str) -> None:
        self._database = edb.connect(url)
        self._database.connect()

    def run(self, operation: str, calls: Sequence[Sequence[Any]]) -> work.Spent:
        edb.bind(self._database)
        return super().run(operation, calls)

    def feed(self, viewer: int) -> list[Any]:
        return edb.FeedPost.timeline(viewer=viewer, limit=work.PAGE).entries()

    def react(self, post: int, user: int, reaction_type: str) -> None:
        edb.FeedReaction.react(post, user, reaction_type)

    def unreact(self, post: int, user: int) -> None:
        edb.FeedReaction.unreact(post, user)

    def thread(self, post: int) -> Sequence[Any]:
        return edb.FeedComment.thread(post, depth=50, limit=work.THREAD_LIMIT).entries

    def reply(self, post: int, user: int, body: str, parent: int) -> None:
        edb.FeedComment.reply(post, user, body, parent=parent)

    def pay(self, account: int, reference: str) -> None:
        self._payment = edb.EscrowTransaction.initiate(
            account, reference=reference, amount=work.AMOUNT, fee_amount=work.FEE, initiated_by=work.PAYER
        )
        self._payment.fund(by=work.PAYER)
        self._payment.hold(by=work.PAYER)

    def cycle(self, account: int, reference: str) -> None:
        self.pay(account, reference)
        self._payment.release(by=work.PAYER)

    def dispute(self) -> None:
        case = edb.DisputeCase.open(self._payment, work.CUSTOMER, work.REASON, work.SUMMARY)
        case.record(by=work.CUSTOMER, notes=work.NOTE)
        case.resolve(edb.Resolution.REFUND, work.RESOLUTION, by=work.CUSTOMER)

    def publish(self, count: int) -> None:
        with self._database.atomic() as transaction:
            for number in range(count):
                edb.FeedPost.create(
                    user=number % 1000 + 1, content=work.CONTENT, visibility="public", metadata=work.METADATA
                )
            transaction.rollback()

    def publish_all(self, count: int) -> None:
        with self._database.atomic() as transaction:
            edb.FeedPost.insert_many(work.new_posts(count)).execute()
            transaction.rollback()

    def load_posts(self, count: int) -> list[Any]:
        return list(edb.FeedPost.select().limit(count))

    def load_transactions(self, count: int) -> list[Any]:
        return list(edb.EscrowTransaction.select().limit(count))

    def release_queue(self) -> list[Any]:
        return list(edb.release_queue(limit=work.QUEUE))

    def find_balance_problems(self) -> Sequence[Any]:
        return edb.find_balance_problems()

    def find_problems(self) -> Sequence[Any]:
        return edb.find_problems()

    def escrow_totals(self) -> Sequence[Any]:
        return edb.escrow_totals()

    def close(self) -> None:
        self._database.close()
