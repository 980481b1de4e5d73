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

    assert client.put(f"/posts/{post['id']}/reaction", json={"user_id": grace.id}).status_code == 204
    answer = client.post(f"/posts/{post['id']}/comments", json={"user_id": grace.id, "body": "Nice"})
    assert answer.json()["parent_id"] is None
    page = client.get("/feed", params={"viewer_id": grace.id}).json()
    assert page == {
        "entries": [{"post": post, "author": "Ada", "reactions": {"like": 1}, "comments": 1}],
        "next_cursor": None,
    }


def test_money_is_exact_text(client):
    sent = {"user_id": testing.make_user().id, "reference": "E-1", "amount": "250.10", "fee_amount": "0.1"}
    payment = client.post("/payments", json=sent).json()
    assert (payment["amount"], payment["net_amount"], payment["status"]) == ("250.1000", "250.0000", "in_escrow")
    answer = client.post(f"/payments/{payment['id']}/release", params={"by": payment["initiated_by_id"]})
    assert answer.json()["status"] == "released"
    assert edb.find_problems() == []


def test_a_float_is_no_amount(client):
    answer = client.post("/payments", json={"user_id": 1, "reference": "E-1", "amount": 0.1})
    assert answer.status_code == 422


def test_a_refusal_is_a_problem_document(client):
    payment = testing.make_transaction(status=edb.TransactionStatus.RELEASED)
    complaint = {"user_id": payment.initiated_by_id, "reason_code": "late", "summary": "Late"}
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
