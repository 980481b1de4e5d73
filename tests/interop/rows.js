'use strict';

const time = (text) => new Date(text);
const createdAt = time('2024-08-01T09:00:00.123Z');
const updatedAt = time('2024-08-02T10:30:59.999Z');

const metadata = {
  tags: ['launch', 'déjà vu', '発売', '🎉'],
  draft: false,
  reviewed: true,
  score: 0.25,
  views: 9007199254740991,
  nothing: null,
  nested: { quote: 'say "hi" \\ it\'s fine', list: [1, -2, { deep: [] }], empty: {} },
};

const people = [
  { firstName: 'Ada', lastName: 'Lovelace', email: 'ada@example.org', createdAt, updatedAt },
  { firstName: 'Björn', lastName: 'Ødegård', email: 'bjorn@example.org', createdAt, updatedAt },
  { firstName: 'Chiyo', lastName: '千代', email: 'chiyo@example.org', createdAt, updatedAt },
];

/**
 * For each shared table a row that names every column, and the least that a row needs.
 *
 * `first` holds the row with every column of each table written so far; `serial` tells rows that hold only
 * the required columns apart.
 */
const samples = {
  FeedPost: {
    full: (first) => ({
      userId: first.User.id,
      content: 'Shipped! 🚀 Ünïcode, "quotes", \'apostrophes\', 100% \\ and\na second line',
      visibility: 'connections',
      metadata,
    }),
    required: (first) => ({ userId: first.User.id, content: 'Plain' }),
  },
  FeedReaction: {
    full: (first) => ({ postId: first.FeedPost.id, userId: first.User.id, reactionType: 'insightful' }),
    required: (first, serial) => ({ postId: first.FeedPost.id, userId: first.people[serial].id }),
  },
  FeedComment: {
    full: (first) => ({
      postId: first.FeedPost.id,
      userId: first.User.id,
      parentId: first.FeedCommentParent.id,
      body: 'Très bien 👏',
      metadata: [metadata, 'a list at the top', 3],
      deletedAt: time('2024-08-03T00:00:00.001Z'),
    }),
    required: (first) => ({ postId: first.FeedPost.id, userId: first.User.id, body: 'Nice' }),
  },
  FeedShare: {
    full: (first) => ({
      postId: first.FeedPost.id,
      userId: first.User.id,
      channel: 'newsletter',
      message: 'Worth a look ✨',
    }),
    required: (first) => ({ postId: first.FeedPost.id, userId: first.User.id, channel: 'email' }),
  },
  FeedActivityLog: {
    full: (first) => ({
      postId: first.FeedPost.id,
      commentId: first.FeedComment.id,
      actorId: first.User.id,
      action: 'comment.created',
      metadata,
    }),
    required: () => ({ action: 'feed.viewed' }),
  },
  EscrowAccount: {
    full: (first) => ({
      userId: first.User.id,
      provider: 'stripe',
      externalId: 'acct_0001',
      status: 'active',
      currencyCode: 'EUR',
      currentBalance: '12345678901.2345',
      pendingReleaseTotal: '0.0001',
      metadata,
      lastReconciledAt: time('2024-08-04T23:59:59.999Z'),
    }),
    required: (first, serial) => ({ userId: first.User.id, provider: `internal-${serial}` }),
  },
  EscrowTransaction: {
    full: (first) => ({
      accountId: first.EscrowAccount.id,
      reference: 'NODE-FULL',
      externalId: 'pi_0001',
      type: 'milestone',
      status: 'in_escrow',
      amount: '1500.1000',
      currencyCode: 'EUR',
      feeAmount: '0.3000',
      netAmount: '1499.8000',
      initiatedById: first.User.id,
      counterpartyId: first.people[1].id,
      projectId: first.Project.id,
      gigId: first.Gig.id,
      milestoneLabel: 'Beta – zweite Stufe',
      scheduledReleaseAt: time('2024-12-31T23:59:59.500Z'),
      releasedAt: time('2025-01-01T00:00:00.000Z'),
      refundedAt: time('2024-02-29T12:00:00.250Z'),
      cancelledAt: time('1999-12-31T23:59:59.750Z'),
      metadata,
      auditTrail: [{ at: '2024-08-01T09:00:00.123Z', by: 'node', from: null, to: 'in_escrow' }],
    }),
    required: (first, serial) => ({
      accountId: first.EscrowAccount.id,
      reference: `NODE-REQUIRED-${serial}`,
      amount: '10.0000',
      initiatedById: first.User.id,
    }),
  },
  DisputeCase: {
    full: (first) => ({
      escrowTransactionId: first.EscrowTransaction.id,
      openedById: first.User.id,
      assignedToId: first.people[2].id,
      stage: 'arbitration',
      status: 'awaiting_customer',
      priority: 'urgent',
      reasonCode: 'not_as_described',
      summary: 'The delivery was half of what we agreed – 半分だけ',
      customerDeadlineAt: time('2024-08-10T08:00:00.008Z'),
      providerDeadlineAt: time('2024-08-12T08:00:00.080Z'),
      resolutionNotes: 'Half was paid back',
      openedAt: time('2024-08-05T05:05:05.505Z'),
      resolvedAt: time('2024-08-20T20:20:20.020Z'),
      metadata,
    }),
    required: (first) => ({
      escrowTransactionId: first.EscrowTransaction.id,
      openedById: first.User.id,
      reasonCode: 'late',
      summary: 'Two weeks late',
    }),
  },
  DisputeEvent: {
    full: (first) => ({
      disputeCaseId: first.DisputeCase.id,
      actorId: first.User.id,
      actorType: 'customer',
      actionType: 'evidence_upload',
      notes: 'See the screenshot 📎',
      evidenceKey: 'disputes/1/screenshot.png',
      evidenceUrl: 'https://files.example.org/disputes/1/screenshot.png?a=1&b=2',
      evidenceFileName: 'Bildschirmfoto größe.png',
      evidenceContentType: 'image/png',
      eventAt: time('2024-08-06T06:06:06.606Z'),
      metadata,
    }),
    required: (first) => ({ disputeCaseId: first.DisputeCase.id }),
  },
};

/**
 * Writes three rows into each shared table, and the platform rows that they point at.
 *
 * In each table the first row names every column; the second only the required ones, through the model,
 * which adds the timestamps; the third only the required ones, past the model, so that every default is the
 * database's. Among the comments the first two change places, as the full one replies to the other. Needs all three revisions and no rows of an earlier call. Returns, by table name and in the
 * order of their ids, the values that were handed to Sequelize.
 */
async function writeRows(sequelize, models) {
  const written = {};
  const note = (model, values) => {
    (written[model.tableName] ??= []).push(values);
  };
  // Silent keeps the updatedAt that a full row names.
  const create = (name, values) => {
    note(models[name], values);
    return models[name].create(values, { silent: 'updatedAt' in values });
  };

  const first = { people: [] };
  for (const person of people) {
    first.people.push(await create('User', person));
  }
  first.User = first.people[0];
  first.Project = await create('Project', {
    title: 'Rakete',
    description: 'To the moon',
    status: 'active',
    ownerId: first.User.id,
    createdAt,
    updatedAt,
  });
  await create('Project', { title: 'Orphan', description: 'Owned by nobody', status: 'draft', createdAt, updatedAt });
  first.Gig = await create('Gig', { title: 'Logo', description: 'Draw a logo', createdAt, updatedAt });

  for (const [name, { full, required }] of Object.entries(samples)) {
    const model = models[name];
    const timestamps = 'updatedAt' in model.rawAttributes ? { createdAt, updatedAt } : { createdAt };
    if (name === 'FeedComment') {
      first.FeedCommentParent = await create(name, required(first));
      first[name] = await create(name, { ...full(first), ...timestamps });
    } else {
      first[name] = await create(name, { ...full(first), ...timestamps });
      await create(name, required(first, 1));
    }
    const values = required(first, 2);
    note(model, values);
    await sequelize.getQueryInterface().bulkInsert(model.tableName, [values]);
  }
  return written;
}

/**
 * Every row of the platform tables and the shared tables, by table name, in the order of their ids: times as
 * ISO text in UTC, money as text of four places, JSON as values. Needs all three revisions.
 */
async function readRows(models) {
  const read = {};
  for (const model of Object.values(models)) {
    const rows = await model.findAll({ order: [['id', 'ASC']] });
    read[model.tableName] = rows.map((row) => row.toJSON());
  }
  return read;
}

module.exports = { writeRows, readRows };
