"""The service's own tests, with the kit of engagement_db."""

import pytest
from fastapi.testclient import TestClient
from service import app

import engagement_db as edb
from engagement_db import testing


@pytest.fixture
def client(engagement_db_database):
    # Without a lifespan: the models are bound to the scratch database already.
    return TestClient(app, raise_server_exceptions=False)


def test_a_post_is_published_and_read(client):
    ada, grace = testing.make_user("Ada"), testing.make_user("Grace")
    sent = {"user_id": ada.id, "content": "Shipped!", "metadata": {"tags": ["new"]}}
    answer = client.post("/posts", json=sent)
    assert answer.status_code == 201
    post = answer.json()
    assert (post["user_id"], post["visibility"], post["metadata"]) == (ada.id, "public", {"tags": ["new"]})
    assert post["created_at"].endswith("Z")

    reaction = f"/posts/{post['id']}/reactions/{grace.id}"
    assert client.put(reaction, params={"reaction": "love"}).status_code == 204
    answer = client.post(f"/posts/{post['id']}/comments", json={"user": grace.id, "body": "Nice"})
    assert answer.json()["parent_id"] is None
    page = client.get("/feed", params={"viewer": grace.id}).json()
    (entry,) = page["entries"]
    author = entry.pop("author")
    assert entry == {"post": post, "reactions": {"love": 1}, "comment_count": 1, "own_reaction": "love"}
    assert (author["first_name"], "email" in author, page["next_cursor"]) == ("Ada", False, None)


def test_a_hidden_post_does_not_exist_for_others(client):
    post = testing.make_post(visibility=edb.Visibility.CONNECTIONS)
    stranger = testing.make_user()
    assert client.put(f"/posts/{post.id}/reactions/{stranger.id}", params={"reaction": "love"}).status_code == 404
    assert client.get("/feed", params={"viewer": stranger.id}).json()["entries"] == []


def test_money_is_exact_text_from_initiate_to_release(client):
    account = testing.make_account()
    sent = {"account": account.id, "reference": "E-1", "amount": "250.10", "fee_amount": "0.1"}
    answer = client.post("/payments", json={**sent, "initiated_by": account.user_id})
    payment = answer.json()
    assert (payment["amount"], payment["net_amount"], payment["status"]) == ("250.1000", "250.0000", "initiated")
    for move, status in (("fund", "funded"), ("hold", "in_escrow"), ("release", "released"), ("release", "released")):
        answer = client.post(f"/payments/{payment['id']}/{move}", params={"by": account.user_id})
        assert answer.json()["status"] == status
    assert edb.find_problems() == []


def test_a_float_is_no_amount(client):
    answer = client.post("/payments", json={"account": 1, "reference": "E-1", "amount": 0.1, "initiated_by": 1})
    assert answer.status_code == 422


def test_a_disputed_payment_waits_for_its_case(client):
    payment = testing.make_transaction(status=edb.TransactionStatus.IN_ESCROW)
    complaint = {"opened_by": payment.initiated_by_id, "reason_code": "late", "summary": "Late"}
    case = client.post(f"/payments/{payment.id}/dispute", json=complaint).json()
    assert (case["escrow_transaction_id"], case["stage"]) == (payment.id, "intake")
    answer = client.post(f"/payments/{payment.id}/release", params={"by": payment.initiated_by_id})
    assert answer.status_code == 409


def test_a_refusal_is_a_problem_document(client):
    payment = testing.make_transaction(status=edb.TransactionStatus.RELEASED)
    complaint = {"opened_by": payment.initiated_by_id, "reason_code": "late", "summary": "Late"}
    answer = client.post(f"/payments/{payment.id}/dispute", json=complaint)
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["table"], problem["id"], problem["row_status"]) == (
        "invalid_transition",
        "escrow_transactions",
        payment.id,
        "released",
    )


def test_what_is_missing_is_404(client):
    answer = client.post("/payments/987/release", params={"by": 1})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_service_says_that_it_is_healthy(client):
    assert client.get("/health").json() == {"status": "ok"}


def test_a_service_without_its_revisions_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(edb.HistoryError, match="engagement-db migrate"), TestClient(app):
        pass
