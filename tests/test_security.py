"""What docs/security.md says of logs and of personal data."""

import logging

import pytest

import engagement_db as edb
from engagement_db import testing

WRITTEN = "PersonalWords"


@pytest.fixture
def person(database):
    return testing.make_user(WRITTEN)


def write_everything(person):
    """Put the words wherever a person's words may be."""
    document = {"words": WRITTEN}
    post = edb.FeedPost.publish(person, WRITTEN, metadata=document)
    post.edit(by=person, content=WRITTEN * 2)
    comment = edb.FeedComment.reply(post, person, WRITTEN, metadata=document)
    edb.FeedComment.reply(post, person, WRITTEN, parent=comment)
    comment.soft_delete(by=person, reason="posted twice")
    edb.FeedReaction.react(post, person)
    edb.FeedShare.share(post, person, "email", WRITTEN)
    account = edb.EscrowAccount.open(person, "stripe")
    account.edit(metadata=document)
    payment = edb.EscrowTransaction.initiate(account, reference="E-1", amount=5, initiated_by=person, metadata=document)
    payment.fund(by=person, notes=WRITTEN, metadata=document)
    payment.hold(by=person, notes=WRITTEN)
    case = edb.DisputeCase.open(payment, person, "late", WRITTEN)
    case.record(notes=WRITTEN, by=person)
    case.resolve(edb.Resolution.REFUND, WRITTEN, by=person)


def test_no_text_of_a_user_is_logged(person, caplog):
    with caplog.at_level(logging.DEBUG, "engagement_db"):
        write_everything(person)
    records = [record for record in caplog.records if record.name.startswith("engagement_db")]
    assert len(records) > 3
    told = [record.name for record in records if WRITTEN in record.getMessage()]
    # An account has no trail: this log is the trace of what was edited.
    assert told == ["engagement_db.trust.accounts"]


def test_erasure_leaves_no_words_in_the_feed_and_no_actor_in_its_log(person):
    write_everything(person)
    edb.erase_feed(person)
    for model in (edb.FeedPost, edb.FeedComment, edb.FeedReaction, edb.FeedShare):
        assert model.select().count() == 0
    entries = list(edb.FeedActivityLog.select())
    assert entries
    assert {entry.actor_id for entry in entries} == {None}
    assert WRITTEN not in "".join(str(entry.metadata) for entry in entries)
