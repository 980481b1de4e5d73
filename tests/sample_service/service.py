"""A service as its authors would write it: a feed and escrow payments over HTTP, with FastAPI."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel

import engagement_db as edb
from engagement_db.contrib.fastapi import install
from engagement_db.contrib.pydantic import Create, Money, Read, read_schema


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with edb.connect(os.environ["DATABASE_URL"]).connection_context():
        edb.verify(accept_newer=True)
    yield


app = FastAPI(lifespan=lifespan)
install(app)

PaymentRead = read_schema(edb.EscrowTransaction, exclude=["audit_trail"])
Move = Literal["fund", "hold", "release", "refund", "cancel"]


class Author(BaseModel, from_attributes=True):
    id: int
    first_name: str


class Entry(BaseModel, from_attributes=True):
    post: Read[edb.FeedPost]
    author: Author
    reactions: dict[edb.ReactionType, int]
    comment_count: int
    own_reaction: edb.ReactionType | None


class Feed(BaseModel, from_attributes=True):
    entries: list[Entry]
    next_cursor: str | None


class Comment(BaseModel):
    user: int
    body: str
    parent: int | None = None


class Payment(BaseModel):
    account: int
    reference: str
    amount: Money
    fee_amount: Money = Decimal(0)
    initiated_by: int


class Complaint(BaseModel):
    opened_by: int
    reason_code: str
    summary: str


@app.get("/feed")
def feed(viewer: int, limit: int = 20, after: str | None = None) -> Feed:
    page = edb.FeedPost.timeline(viewer=viewer, limit=limit, after=after)
    return Feed.model_validate({"entries": page.entries(viewer=viewer), "next_cursor": page.next_cursor})


@app.post("/posts", status_code=201)
def publish(post: Create[edb.FeedPost]) -> Read[edb.FeedPost]:
    return edb.FeedPost.publish(post.user_id, post.content, visibility=post.visibility, metadata=post.metadata)


@app.put("/posts/{post_id}/reactions/{user_id}", status_code=204)
def react(post_id: int, user_id: int, reaction: edb.ReactionType) -> None:
    edb.FeedReaction.react(post_id, user_id, reaction, viewer=user_id)


@app.post("/posts/{post_id}/comments", status_code=201)
def reply(post_id: int, comment: Comment) -> Read[edb.FeedComment]:
    return edb.FeedComment.reply(post_id, **comment.model_dump(), viewer=comment.user)


@app.post("/payments", response_model=PaymentRead, status_code=201)
def initiate(payment: Payment) -> edb.EscrowTransaction:
    return edb.EscrowTransaction.initiate(**payment.model_dump())


@app.post("/payments/{payment_id}/dispute", status_code=201)
def dispute(payment_id: int, complaint: Complaint) -> Read[edb.DisputeCase]:
    return edb.DisputeCase.open(payment_id, **complaint.model_dump())


@app.post("/payments/{payment_id}/{move}", response_model=PaymentRead)
def make(payment_id: int, move: Move, by: int) -> edb.EscrowTransaction:
    change: edb.TransactionChange = getattr(edb.EscrowTransaction.get_by_id(payment_id), move)(by=by)
    return change.transaction
