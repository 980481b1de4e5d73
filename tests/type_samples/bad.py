"""Mistakes as checkers should see them: every line after the imports is an error."""

import engagement_db as edb

edb.FeedPost(content="x")
edb.FeedPost(user=1)
edb.FeedPost(user=1, content="x", visiblity=edb.Visibility.PUBLIC)
edb.FeedPost(user=1, content=5)
edb.FeedPost(user="1", content="x")
edb.FeedPost(user=edb.Gig(title="Logo"), content="x")
edb.FeedPost(user=1, content="x", visibility="public")
edb.FeedPost.create(content="x")
edb.FeedPost.create(user=1, content="x", visiblity=edb.Visibility.PUBLIC)
edb.FeedPost.create(user=1, content=5)
edb.FeedPost.create(user=1, content="x").contents
edb.FeedPost.create(user=1, content="x").content.foo
edb.FeedPost.create(user=1, content="x").user.foo
edb.EscrowTransaction(account=1, reference="E-1", initiated_by=1)
edb.EscrowTransaction.select().get().amount.foo
edb.EscrowTransaction.select().get().relese()
edb.EscrowTransaction.select().get().status.foo
edb.EscrowTransaction.select().get().counterparty.first_name
edb.EscrowTransaction.select().get().scheduled_release_at.year
edb.EscrowTransaction.select().first().amount
edb.EscrowTransaction.select().get().dispute_cases.get().foo
edb.User.create(first_name="Ada", last_name="Byron", email="a@example.org").feed_posts.get().foo
edb.EscrowAccount(user=1, provider="stripe", current_balance="1")
edb.EscrowAccount(user=1, provider="stripe").current_balance = 0.5
edb.FeedPost(user=1, content="x").content = None
edb.FeedPost(user=1, content="x").user = "ada"
edb.FeedPost(user=1, content="x").visibility = "public"
edb.FeedPost.get_by_id(7).contents
edb.FeedPost.get(edb.FeedPost.id == 7).contents
edb.release_queue().get().relese()
edb.DisputeCase.queue().get().foo
edb.list_transactions().first().amount
edb.FeedPost.timeline(viewer="ada")
edb.FeedComment.of_post(7).get().foo
edb.EscrowTransaction.get_by_id(7).fund(by="ada")
edb.EscrowTransaction.get_by_id(7).fund(by=edb.Gig(title="Logo"))
edb.EscrowAccount.open("ada", "stripe")
edb.DisputeCase.open("E-1", opened_by=1, reason_code="late", summary="Late")
edb.Frobnicate
edb.list_transactions(owner=1).dicts().get().amount
edb.EscrowTransaction.select().tuples().get().amount
edb.EscrowTransaction.select()[0].foo
edb.FeedPost(user=1, content="x").delete()
