'use strict';

/** The class name of the error that `action` ends in, or 'accepted'. */
async function outcome(action) {
  try {
    await action();
    return 'accepted';
  } catch (error) {
    return error.name;
  }
}

/**
 * Tries what the contract refuses and what it cascades, on rows of its own.
 *
 * Needs all three revisions and no rows of an earlier call. Returns under `refusals` the outcome of each
 * attempt, under `cascades` what was left after each delete that is allowed.
 */
async function tryViolations(models) {
  const {
    User, FeedPost, FeedReaction, FeedComment, FeedShare, FeedActivityLog,
    EscrowAccount, EscrowTransaction, DisputeCase, DisputeEvent,
  } = models;
  const person = (firstName) => User.create({
    firstName,
    lastName: 'Violator',
    email: `${firstName.toLowerCase()}@violations.example.org`,
  });
  const author = await person('Author');
  const reader = await person('Reader');
  const holder = await person('Holder');
  const counterparty = await person('Counterparty');

  const post = await FeedPost.create({ userId: author.id, content: 'To be deleted' });
  const about = { postId: post.id, userId: reader.id };
  await FeedReaction.create(about);
  const parent = await FeedComment.create({ ...about, body: 'Parent' });
  const reply = await FeedComment.create({ ...about, parentId: parent.id, body: 'Reply' });
  await FeedShare.create({ ...about, channel: 'email' });
  const log = await FeedActivityLog.create({
    postId: post.id, commentId: parent.id, actorId: reader.id, action: 'comment.created',
  });

  const account = await EscrowAccount.create({ userId: holder.id, provider: 'internal' });
  const transfer = {
    accountId: account.id, reference: 'NODE-VIOLATION', amount: '5.0000', initiatedById: holder.id,
  };
  const transaction = await EscrowTransaction.create({ ...transfer, counterpartyId: counterparty.id });
  const dispute = await DisputeCase.create({
    escrowTransactionId: transaction.id, openedById: holder.id, reasonCode: 'late', summary: 'Late',
  });
  await DisputeEvent.create({ disputeCaseId: dispute.id });

  const another = (reference, values) => EscrowTransaction.create({ ...transfer, reference, ...values });
  const refusals = {
    secondReactionOfOneUser: await outcome(() => FeedReaction.create({ ...about, reactionType: 'love' })),
    unknownReactionType: await outcome(
      () => FeedReaction.create({ postId: post.id, userId: author.id, reactionType: 'shrug' }),
    ),
    reactionToMissingPost: await outcome(() => FeedReaction.create({ postId: 999999, userId: author.id })),
    postWithoutContent: await outcome(
      () => FeedPost.create({ userId: author.id, content: null }, { validate: false }),
    ),
    secondUseOfReference: await outcome(() => EscrowTransaction.create(transfer)),
    negativeAmount: await outcome(() => another('NODE-NEGATIVE', { amount: '-1.0000' })),
    feeAboveAmount: await outcome(() => another('NODE-FEE', { amount: '1.0000', feeAmount: '2.0000' })),
    negativeBalance: await outcome(() => account.update({ currentBalance: '-0.0001' })),
    deleteCaseWithEvents: await outcome(() => dispute.destroy()),
    deleteTransactionWithCase: await outcome(() => transaction.destroy()),
    deleteAccountWithTransactions: await outcome(() => account.destroy()),
    deleteUserWithEscrowRows: await outcome(() => holder.destroy()),
  };

  const cascades = {};
  await parent.destroy();
  cascades.parentCommentDeleted = {
    replyParentId: (await reply.reload()).parentId,
    logKeepsCommentId: (await log.reload()).commentId === parent.id,
  };
  await post.destroy();
  const left = { where: { postId: post.id } };
  cascades.postDeleted = {
    reactions: await FeedReaction.count(left),
    comments: await FeedComment.count(left),
    shares: await FeedShare.count(left),
    logPostId: (await log.reload()).postId,
  };
  await reader.destroy();
  cascades.readerDeleted = { logActorId: (await log.reload()).actorId };
  const second = await FeedPost.create({ userId: author.id, content: 'Goes with its author' });
  await author.destroy();
  cascades.authorDeleted = { posts: await FeedPost.count({ where: { id: second.id } }) };
  await counterparty.destroy();
  const kept = await EscrowTransaction.findByPk(transaction.id);
  cascades.counterpartyDeleted = { counterpartyId: kept === null ? 'transaction gone' : kept.counterpartyId };
  return { refusals, cascades };
}

module.exports = { tryViolations };
