"""The contract, column by column, as literal data; the models declare just that.

An integer here that holds ids has four bytes where the ids of the platform do; test_key_types.py holds the others.
"""

import dataclasses

import pytest

import engagement_db as edb
from engagement_db import tables

NOW = "now"


def enum(*labels):
    return tables.Enum(labels)


def varchar(length):
    return tables.Varchar(length)


KEY, INTEGER, TEXT, TIME, JSON, MONEY = (
    tables.Id(),
    tables.Integer(),
    tables.Text(),
    tables.Timestamp(),
    tables.Json(),
    tables.Money(),
)

# Table: (columns, foreign keys, indexes, checks).
# A column is (name, type, may be null, default); a foreign key (column, parent, on delete);
# an index (name, columns, unique); a check (name, expression).
CONTRACT = {
    "feed_posts": (
        [
            ("id", KEY, False, None),
            ("userId", INTEGER, False, None),
            ("content", TEXT, False, None),
            ("visibility", enum("public", "connections"), False, "public"),
            ("metadata", JSON, True, None),
            ("createdAt", TIME, False, NOW),
            ("updatedAt", TIME, False, NOW),
        ],
        [("userId", "users", "CASCADE")],
        [
            ("feed_posts_created_at", ["createdAt"], False),
            ("feed_posts_visibility_created_at", ["visibility", "createdAt"], False),
            ("feed_posts_user_id_created_at", ["userId", "createdAt"], False),
        ],
        [],
    ),
    "feed_reactions": (
        [
            ("id", KEY, False, None),
            ("postId", INTEGER, False, None),
            ("userId", INTEGER, False, None),
            ("reactionType", enum("like", "celebrate", "support", "love", "insightful"), False, "like"),
            ("createdAt", TIME, False, NOW),
            ("updatedAt", TIME, False, NOW),
        ],
        [("postId", "feed_posts", "CASCADE"), ("userId", "users", "CASCADE")],
        [
            ("feed_reactions_post_id_user_id", ["postId", "userId"], True),
            ("feed_reactions_user_id", ["userId"], False),
            ("feed_reactions_post_id_reaction_type", ["postId", "reactionType"], False),
        ],
        [],
    ),
    "feed_comments": (
        [
            ("id", KEY, False, None),
            ("postId", INTEGER, False, None),
            ("userId", INTEGER, False, None),
            ("parentId", INTEGER, True, None),
            ("body", TEXT, False, None),
            ("metadata", JSON, True, None),
            ("deletedAt", TIME, True, None),
            ("createdAt", TIME, False, NOW),
            ("updatedAt", TIME, False, NOW),
        ],
        [
            ("postId", "feed_posts", "CASCADE"),
            ("userId", "users", "CASCADE"),
            ("parentId", "feed_comments", "SET NULL"),
        ],
        [
            ("feed_comments_post_id_created_at", ["postId", "createdAt"], False),
            ("feed_comments_parent_id", ["parentId"], False),
            ("feed_comments_user_id", ["userId"], False),
        ],
        [],
    ),
    "feed_shares": (
        [
            ("id", KEY, False, None),
            ("postId", INTEGER, False, None),
            ("userId", INTEGER, False, None),
            ("channel", varchar(60), False, None),
            ("message", TEXT, True, None),
            ("createdAt", TIME, False, NOW),
            ("updatedAt", TIME, False, NOW),
        ],
        [("postId", "feed_posts", "CASCADE"), ("userId", "users", "CASCADE")],
        [
            ("feed_shares_post_id_created_at", ["postId", "createdAt"], False),
            ("feed_shares_user_id", ["userId"], False),
            ("feed_shares_channel_created_at", ["channel", "createdAt"], False),
        ],
        [],
    ),
    "feed_activity_logs": (
        [
            ("id", KEY, False, None),
            ("postId", INTEGER, True, None),
            ("commentId", INTEGER, True, None),
            ("actorId", INTEGER, True, None),
            ("action", varchar(80), False, None),
            ("metadata", JSON, True, None),
            ("createdAt", TIME, False, NOW),
        ],
        [
            ("postId", "feed_posts", "SET NULL"),
            ("actorId", "users", "SET NULL"),
        ],
        [
            ("feed_activity_logs_post_id_created_at", ["postId", "createdAt"], False),
            ("feed_activity_logs_comment_id", ["commentId"], False),
            ("feed_activity_logs_actor_id_created_at", ["actorId", "createdAt"], False),
            ("feed_activity_logs_action_created_at", ["action", "createdAt"], False),
        ],
        [],
    ),
    "escrow_accounts": (
        [
            ("id", KEY, False, None),
            ("userId", INTEGER, False, None),
            ("provider", varchar(80), False, None),
            ("externalId", varchar(120), True, None),
            ("status", enum("pending", "active", "suspended", "closed"), False, "pending"),
            ("currencyCode", varchar(3), False, "USD"),
            ("currentBalance", MONEY, False, "0"),
            ("pendingReleaseTotal", MONEY, False, "0"),
            ("metadata", JSON, True, None),
            ("lastReconciledAt", TIME, True, None),
            ("createdAt", TIME, False, NOW),
            ("updatedAt", TIME, False, NOW),
        ],
        [("userId", "users", "RESTRICT")],
        [
            ("escrow_accounts_user_id_provider_currency_code", ["userId", "provider", "currencyCode"], True),
            ("escrow_accounts_provider", ["provider"], False),
            ("escrow_accounts_status", ["status"], False),
        ],
        [
            ("escrow_accounts_current_balance_check", '"currentBalance" >= 0'),
            ("escrow_accounts_pending_release_total_check", '"pendingReleaseTotal" >= 0'),
        ],
    ),
    "escrow_transactions": (
        [
            ("id", KEY, False, None),
            ("accountId", INTEGER, False, None),
            ("reference", varchar(120), False, None),
            ("externalId", varchar(120), True, None),
            ("type", enum("project", "gig", "milestone", "retainer"), False, "project"),
            (
                "status",
                enum("initiated", "funded", "in_escrow", "released", "refunded", "cancelled", "disputed"),
                False,
                "initiated",
            ),
            ("amount", MONEY, False, None),
            ("currencyCode", varchar(3), False, "USD"),
            ("feeAmount", MONEY, False, "0"),
            ("netAmount", MONEY, False, "0"),
            ("initiatedById", INTEGER, False, None),
            ("counterpartyId", INTEGER, True, None),
            ("projectId", INTEGER, True, None),
            ("gigId", INTEGER, True, None),
            ("milestoneLabel", varchar(180), True, None),
            ("scheduledReleaseAt", TIME, True, None),
            ("releasedAt", TIME, True, None),
            ("refundedAt", TIME, True, None),
            ("cancelledAt", TIME, True, None),
            ("metadata", JSON, True, None),
            ("auditTrail", JSON, True, None),
            ("createdAt", TIME, False, NOW),
            ("updatedAt", TIME, False, NOW),
        ],
        [
            ("accountId", "escrow_accounts", "RESTRICT"),
            ("initiatedById", "users", "RESTRICT"),
            ("counterpartyId", "users", "SET NULL"),
            ("projectId", "projects", "SET NULL"),
            ("gigId", "gigs", "SET NULL"),
        ],
        [
            ("escrow_transactions_account_id", ["accountId"], False),
            ("escrow_transactions_reference", ["reference"], True),
            ("escrow_transactions_status_scheduled_release_at", ["status", "scheduledReleaseAt"], False),
            ("escrow_transactions_project_id", ["projectId"], False),
            ("escrow_transactions_gig_id", ["gigId"], False),
            ("escrow_transactions_scheduled_release_at", ["scheduledReleaseAt"], False),
            ("escrow_transactions_initiated_by_id", ["initiatedById"], False),
            ("escrow_transactions_counterparty_id", ["counterpartyId"], False),
        ],
        [
            ("escrow_transactions_amount_check", '"amount" > 0'),
            ("escrow_transactions_fee_amount_check", '"feeAmount" >= 0 AND "feeAmount" <= "amount"'),
        ],
    ),
    "dispute_cases": (
        [
            ("id", KEY, False, None),
            ("escrowTransactionId", INTEGER, False, None),
            ("openedById", INTEGER, False, None),
            ("assignedToId", INTEGER, True, None),
            ("stage", enum("intake", "mediation", "arbitration", "resolved"), False, "intake"),
            (
                "status",
                enum("open", "awaiting_customer", "under_review", "settled", "closed"),
                False,
                "open",
            ),
            ("priority", enum("low", "medium", "high", "urgent"), False, "medium"),
            ("reasonCode", varchar(80), False, None),
            ("summary", TEXT, False, None),
            ("customerDeadlineAt", TIME, True, None),
            ("providerDeadlineAt", TIME, True, None),
            ("resolutionNotes", TEXT, True, None),
            ("openedAt", TIME, False, NOW),
            ("resolvedAt", TIME, True, None),
            ("metadata", JSON, True, None),
            ("createdAt", TIME, False, NOW),
            ("updatedAt", TIME, False, NOW),
        ],
        [
            ("escrowTransactionId", "escrow_transactions", "RESTRICT"),
            ("openedById", "users", "RESTRICT"),
            ("assignedToId", "users", "SET NULL"),
        ],
        [
            ("dispute_cases_escrow_transaction_id", ["escrowTransactionId"], False),
            ("dispute_cases_stage", ["stage"], False),
            ("dispute_cases_status", ["status"], False),
            ("dispute_cases_priority", ["priority"], False),
            ("dispute_cases_opened_by_id", ["openedById"], False),
            ("dispute_cases_assigned_to_id", ["assignedToId"], False),
        ],
        [],
    ),
    "dispute_events": (
        [
            ("id", KEY, False, None),
            ("disputeCaseId", INTEGER, False, None),
            ("actorId", INTEGER, True, None),
            ("actorType", enum("customer", "provider", "mediator", "admin", "system"), False, "system"),
            (
                "actionType",
                enum(
                    "comment",
                    "evidence_upload",
                    "deadline_adjusted",
                    "stage_advanced",
                    "status_change",
                    "system_notice",
                ),
                False,
                "comment",
            ),
            ("notes", TEXT, True, None),
            ("evidenceKey", varchar(255), True, None),
            ("evidenceUrl", TEXT, True, None),
            ("evidenceFileName", varchar(180), True, None),
            ("evidenceContentType", varchar(80), True, None),
            ("eventAt", TIME, False, NOW),
            ("metadata", JSON, True, None),
            ("createdAt", TIME, False, NOW),
            ("updatedAt", TIME, False, NOW),
        ],
        [("disputeCaseId", "dispute_cases", "RESTRICT"), ("actorId", "users", "SET NULL")],
        [
            ("dispute_events_dispute_case_id_event_at", ["disputeCaseId", "eventAt"], False),
            ("dispute_events_actor_type", ["actorType"], False),
            ("dispute_events_action_type", ["actionType"], False),
            ("dispute_events_actor_id", ["actorId"], False),
        ],
        [],
    ),
}

# What the models read of the platform's tables.
PLATFORM = {
    "users": ["id", "firstName", "lastName", "email", "createdAt", "updatedAt"],
    "projects": ["id", "title", "description", "status", "createdAt", "updatedAt", "ownerId"],
    "gigs": ["id", "title", "description", "createdAt", "updatedAt"],
}

MODELS = {model._meta.table_name: model for model in edb.MODELS}


def test_the_models_are_those_of_the_contract_and_of_the_platform():
    assert sorted(MODELS) == sorted([*CONTRACT, *PLATFORM])


@pytest.mark.parametrize("table", CONTRACT)
def test_columns_are_those_of_the_contract(table):
    declared = [
        (column.name, column.type, column.null, NOW if column.default == tables.NOW else column.default)
        for column in MODELS[table].declared().columns
    ]
    assert declared == CONTRACT[table][0]


@pytest.mark.parametrize("table", CONTRACT)
def test_foreign_keys_are_those_of_the_contract(table):
    declared = {(key.column, key.parent, key.on_delete) for key in MODELS[table].declared().foreign_keys}
    assert declared == set(CONTRACT[table][1])
    assert {(key.parent_column, key.on_update) for key in MODELS[table].declared().foreign_keys} == {
        ("id", "NO ACTION")
    }


@pytest.mark.parametrize("table", CONTRACT)
def test_indexes_are_those_of_the_contract(table):
    declared = [(index.name, list(index.columns), index.unique) for index in MODELS[table].declared().indexes]
    assert declared == sorted(CONTRACT[table][2])


@pytest.mark.parametrize("table", CONTRACT)
def test_checks_are_those_of_the_contract(table):
    declared = [(check.name, check.expression) for check in MODELS[table].declared().checks]
    assert declared == sorted(CONTRACT[table][3])


@pytest.mark.parametrize("table", CONTRACT)
def test_every_foreign_key_column_leads_an_index(table):
    leading = {index.columns[0] for index in MODELS[table].declared().indexes}
    assert {column for column, *_ in CONTRACT[table][1]} <= leading


@pytest.mark.parametrize("table", PLATFORM)
def test_the_platform_is_read_by_the_columns_of_the_contract(table):
    declared = MODELS[table].declared()
    assert [column.name for column in declared.columns] == PLATFORM[table]
    owner = tables.ForeignKey("projects_owner_id_fkey", "ownerId", "users", "SET NULL", "CASCADE")
    owned = table == "projects"
    assert declared.foreign_keys == ((owner,) if owned else ())
    assert declared.indexes == ((tables.Index("projects_owner_id_idx", ("ownerId",)),) if owned else ())
    assert declared.checks == ()


def test_names_of_attributes_are_those_of_columns_in_snake_case():
    for model in edb.MODELS:
        for field in model._meta.sorted_fields:
            attribute = getattr(field, "object_id_name", field.name)
            assert attribute == tables.snake_case(field.column_name)


def test_a_declared_shape_cannot_be_changed():
    shape = edb.FeedPost.declared()
    with pytest.raises(dataclasses.FrozenInstanceError):
        shape.name = "other"
    assert shape == edb.FeedPost.declared()
