"""A service as its authors would write it: a feed and escrow payments over HTTP, with FastAPI."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from fastapi import FastAPI
from pydantic import BaseModel

import engagement_db as edb
from engagement_db.contrib.fastapi import install
from engagement_db.contrib.pydantic import Money, create_schema, read_schema


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    edb.connect(os.environ["DATABASE_URL"])
    yield


app = FastAPI(lifespan=lifespan)
install(app)

PostRead = read_schema(edb.FeedPost)
PostCreate = create_schema(edb.FeedPost)
CommentRead = read_schema(edb.FeedComment)
PaymentRead = read_schema(edb.EscrowTransaction)
CaseRead = read_schema(edb.DisputeCase)


class Entry(BaseModel):
    post: PostRead
    author: str
    reactions: dict[edb.ReactionType, int]
    comments: int


class Feed(BaseModel):
    entries: list[Entry]
    next_cursor: str | None


class Reaction(BaseModel):
    user_id: int
    type: edb.ReactionType = edb.ReactionType.LIKE


class Comment(BaseModel):
    user_id: int
    body: str
    parent_id: int | None = None


class Payment(BaseModel):
    user_id: int
    reference: str
    amount: Money
    fee_amount: Money = Decimal(0)
    currency_code: str = "USD"


class Complaint(BaseModel):
    user_id: int
    reason_code: str
    summary: str


@app.post("/posts", response_model=PostRead, status_code=201)
def publish(post: PostCreate):
    return PostRead.model_validate(
        edb.FeedPost.publish(post.user_id, post.content, visibility=post.visibility, metadata=post.metadata)
    )


@app.get("/feed", response_model=Feed)
def feed(viewer_id: int, limit: int = 20, after: str | None = None):
    page = edb.FeedPost.timeline(viewer=viewer_id, limit=limit, after=after)
    entries = [
        Entry(
            post=PostRead.model_validate(entry.post),
            author=entry.author.first_name,
            reactions=entry.reactions,
            comments=entry.comment_count,
        )
        for entry in page.entries(viewer=viewer_id)
    ]
    return Feed(entries=entries, next_cursor=page.next_cursor)


@app.put("/posts/{post_id}/reaction", status_code=204)
def react(post_id: int, reaction: Reaction) -> None:
    edb.FeedReaction.react(post_id, reaction.user_id, reaction.type)


@app.post("/posts/{post_id}/comments", response_model=CommentRead, status_code=201)
def comment(post_id: int, comment: Comment):
    reply = edb.FeedComment.reply(post_id, comment.user_id, comment.body, parent=comment.parent_id)
    return CommentRead.model_validate(reply)


@app.post("/payments", response_model=PaymentRead, status_code=201)
def pay(payment: Payment):
    account = edb.EscrowAccount.open(payment.user_id, "stripe", payment.currency_code)
    amounts = {"amount": payment.amount, "fee_amount": payment.fee_amount}
    made = edb.EscrowTransaction.deposit(
        account,
        reference=payment.reference,
        initiated_by=payment.user_id,
        currency_code=payment.currency_code,
        **amounts,
    )
    return PaymentRead.model_validate(made)


@app.post("/payments/{payment_id}/release", response_model=PaymentRead)
def release(payment_id: int, by: int):
    return PaymentRead.model_validate(edb.EscrowTransaction.get_by_id(payment_id).release(by=by).transaction)


@app.post("/payments/{payment_id}/dispute", response_model=CaseRead, status_code=201)
def dispute(payment_id: int, complaint: Complaint):
    case = edb.DisputeCase.open(payment_id, complaint.user_id, complaint.reason_code, complaint.summary)
    return CaseRead.model_validate(case)
