'use strict';

// Sequelize as one would write it without the library. Takes one batch a line on stdin, {operation, calls}, and answers
// with what it took in milliseconds, {wall, cpu, rows}, or with {error}.

const readline = require('node:readline');
const { DataTypes, Op, Sequelize, Transaction, col, fn } = require('sequelize');

const SQLITE_PREFIX = 'sqlite:///';
const url = process.argv[2].split('?')[0];
const isSqlite = url.startsWith(SQLITE_PREFIX);
const isPostgres = url.startsWith('postgresql');
// What every peer writes: benchmarks/verbs/work.py.
const work = JSON.parse(process.argv[3]);

const options = { logging: false, timezone: '+00:00', pool: { max: 1, min: 1, idle: 1e9 } };
const db = isSqlite
  ? new Sequelize({
      ...options,
      dialect: 'sqlite',
      dialectModule: require('@appthreat/sqlite3').default,
      storage: url.slice(SQLITE_PREFIX.length),
      foreignKeys: true,
    })
  : new Sequelize(url, { ...options, isolationLevel: Transaction.ISOLATION_LEVELS.READ_COMMITTED });

const { DATE, INTEGER, STRING, TEXT } = DataTypes;
const JSON_TYPE = isPostgres ? DataTypes.JSONB : DataTypes.JSON;
const MONEY = DataTypes.DECIMAL(18, 4);

function model(name, tableName, columns, more = {}) {
  return db.define(name, columns, { tableName, ...more });
}

const User = model('user', 'users', { firstName: STRING, lastName: STRING, email: STRING });
const Post = model('post', 'feed_posts', {
  userId: INTEGER,
  content: TEXT,
  visibility: DataTypes.ENUM('public', 'connections'),
  metadata: JSON_TYPE,
});
Post.belongsTo(User, { foreignKey: 'userId', as: 'user' });
const Reaction = model('reaction', 'feed_reactions', {
  postId: INTEGER,
  userId: INTEGER,
  reactionType: DataTypes.ENUM('like', 'celebrate', 'support', 'love', 'insightful'),
});
const Comment = model('comment', 'feed_comments', {
  postId: INTEGER,
  userId: INTEGER,
  parentId: INTEGER,
  body: TEXT,
  metadata: JSON_TYPE,
  deletedAt: DATE,
});
Comment.belongsTo(User, { foreignKey: 'userId', as: 'user' });
const Share = model('share', 'feed_shares', { postId: INTEGER, userId: INTEGER, channel: STRING });
const Log = model(
  'log',
  'feed_activity_logs',
  { postId: INTEGER, commentId: INTEGER, actorId: INTEGER, action: STRING, metadata: JSON_TYPE },
  { updatedAt: false },
);
const Account = model('account', 'escrow_accounts', {
  userId: INTEGER,
  provider: STRING,
  externalId: STRING,
  status: STRING,
  currencyCode: STRING,
  currentBalance: MONEY,
  pendingReleaseTotal: MONEY,
  metadata: JSON_TYPE,
  lastReconciledAt: DATE,
});
const Payment = model('payment', 'escrow_transactions', {
  accountId: INTEGER,
  reference: STRING,
  externalId: STRING,
  type: STRING,
  status: STRING,
  amount: MONEY,
  currencyCode: STRING,
  feeAmount: MONEY,
  netAmount: MONEY,
  initiatedById: INTEGER,
  counterpartyId: INTEGER,
  projectId: INTEGER,
  gigId: INTEGER,
  milestoneLabel: STRING,
  scheduledReleaseAt: DATE,
  releasedAt: DATE,
  refundedAt: DATE,
  cancelledAt: DATE,
  metadata: JSON_TYPE,
  auditTrail: JSON_TYPE,
});
const Case = model('case', 'dispute_cases', {
  escrowTransactionId: INTEGER,
  openedById: INTEGER,
  stage: STRING,
  status: STRING,
  priority: STRING,
  reasonCode: STRING,
  summary: TEXT,
  resolutionNotes: TEXT,
  openedAt: DATE,
  resolvedAt: DATE,
});
const Event = model('event', 'dispute_events', {
  disputeCaseId: INTEGER,
  actorId: INTEGER,
  actorType: STRING,
  actionType: STRING,
  notes: TEXT,
  metadata: JSON_TYPE,
  eventAt: DATE,
});

const MOMENTS = { released_at: 'releasedAt', refunded_at: 'refundedAt' };

function atomic(change) {
  return db.transaction(isSqlite ? { type: Transaction.TYPES.IMMEDIATE } : {}, change);
}

function locked(transaction, isShared = false) {
  if (isSqlite) return { transaction };
  if (isShared) return { transaction, lock: transaction.LOCK.SHARE };
  return { transaction, lock: isPostgres ? transaction.LOCK.NO_KEY_UPDATE : transaction.LOCK.UPDATE };
}

function plus(amount, direction, more) {
  return ((Math.round(Number(amount) * 1e4) + direction * Math.round(Number(more) * 1e4)) / 1e4).toFixed(4);
}

async function requireActor(id, transaction) {
  if (!(await User.findByPk(id, { attributes: ['id'], transaction }))) throw new Error(`no user ${id}`);
}

let payment;

async function initiate(accountId, reference) {
  payment = await atomic(async (transaction) => {
    const account = await Account.findByPk(accountId, locked(transaction));
    if (account.status !== 'active') throw new Error(`account ${accountId} is ${account.status}`);
    const previous = await Payment.max('id', { transaction });
    const entry = { ...work.firstEntry, at: new Date(), previous };
    entry.payload = { ...entry.payload, account: accountId };
    entry.account = { user: account.userId, provider: account.provider };
    const [row] = await Payment.findOrCreate({
      where: { reference },
      transaction,
      defaults: {
        accountId,
        type: 'project',
        status: 'initiated',
        amount: work.amount,
        feeAmount: work.fee,
        netAmount: work.net,
        currencyCode: account.currencyCode,
        initiatedById: work.payer,
        auditTrail: [entry],
      },
    });
    return row;
  });
}

/** Lock the transaction, and its account if money moves, and change them. */
async function applyMove(transaction, name) {
  const { move, entry } = work.moves[name];
  const row = await Payment.findByPk(payment.id, locked(transaction));
  if (row.status !== move.before) throw new Error(`${row.status} instead of ${move.before}`);
  await requireActor(move.actor, transaction);
  if (name === 'dispute') {
    const where = { escrowTransactionId: row.id, status: work.active };
    if (await Case.findOne({ where, ...locked(transaction) })) throw new Error('disputed already');
  }
  if (move.direction) {
    const account = await Account.findByPk(row.accountId, locked(transaction));
    await account.update(
      {
        currentBalance: plus(account.currentBalance, move.direction, row.amount),
        pendingReleaseTotal: plus(account.pendingReleaseTotal, move.direction, row.netAmount),
      },
      { transaction },
    );
  }
  const at = new Date();
  const change = { status: move.after, auditTrail: [...row.auditTrail, { ...entry, at }] };
  if (move.moment) change[MOMENTS[move.moment]] = at;
  await row.update(change, { transaction });
}

function commitMove(name) {
  return atomic((transaction) => applyMove(transaction, name));
}

async function lockActive(id, transaction) {
  const row = await Case.findByPk(id, locked(transaction));
  if (!work.active.includes(row.status)) throw new Error(`case ${id} is ${row.status}`);
  await requireActor(work.customer, transaction);
  return row;
}

function addEvent(transaction, disputeCaseId, actorType, actionType, notes, metadata) {
  const eventAt = new Date();
  const row = { disputeCaseId, actorId: work.customer, actorType, actionType, notes, eventAt };
  return Event.create(metadata ? { ...row, metadata } : row, { transaction });
}

function newPost(number) {
  return { userId: (number % 1000) + 1, content: work.content, visibility: 'public', metadata: work.metadata };
}

async function rolledBack(change) {
  const transaction = await db.transaction();
  await change(transaction);
  await transaction.rollback();
}

const operations = {
  async feed(viewer) {
    const found = await Post.findAll({
      where: { [Op.or]: [{ visibility: 'public' }, { userId: viewer }] },
      include: [{ model: User, as: 'user' }],
      order: [
        ['createdAt', 'DESC'],
        ['id', 'DESC'],
      ],
      limit: work.page + 1,
    });
    const posts = found.slice(0, work.page);
    const postId = posts.map((post) => post.id);
    const count = [fn('COUNT', col('id')), 'count'];
    const entries = new Map(posts.map((post) => [post.id, { post, reactions: {} }]));
    const reactions = await Reaction.findAll({
      attributes: ['postId', 'reactionType', count],
      where: { postId },
      group: ['postId', 'reactionType'],
      raw: true,
    });
    for (const row of reactions) entries.get(row.postId).reactions[row.reactionType] = Number(row.count);
    const own = await Reaction.findAll({
      attributes: ['postId', 'reactionType'],
      where: { postId, userId: viewer },
      raw: true,
    });
    for (const row of own) entries.get(row.postId).own = row.reactionType;
    const comments = await Comment.findAll({
      attributes: ['postId', count],
      where: { postId, deletedAt: null },
      group: ['postId'],
      raw: true,
    });
    for (const row of comments) entries.get(row.postId).comments = Number(row.count);
    const shares = await Share.findAll({ attributes: ['postId', count], where: { postId }, group: ['postId'], raw: true });
    for (const row of shares) entries.get(row.postId).shares = Number(row.count);
    return [...entries.values()];
  },

  react(postId, userId, reactionType) {
    return atomic(async (transaction) => {
      const found = await Reaction.findOne({ where: { postId, userId }, ...locked(transaction) });
      let action = 'reaction_added';
      const metadata = { reactionType };
      if (!found) {
        // A savepoint, so that a lost race does not end the transaction.
        const nested = isSqlite ? null : await db.transaction({ transaction });
        await Reaction.create({ postId, userId, reactionType }, { transaction: nested ?? transaction });
        if (nested) await nested.commit();
      } else if (found.reactionType === reactionType) {
        return;
      } else {
        action = 'reaction_changed';
        metadata.previousType = found.reactionType;
        await found.update({ reactionType }, { transaction });
      }
      await Log.create({ postId, actorId: userId, action, metadata }, { transaction });
    });
  },

  unreact(postId, userId) {
    return atomic(async (transaction) => {
      const found = await Reaction.findOne({ where: { postId, userId }, ...locked(transaction) });
      if (!found) return;
      await found.destroy({ transaction });
      const metadata = { reactionType: found.reactionType };
      await Log.create({ postId, actorId: userId, action: 'reaction_removed', metadata }, { transaction });
    });
  },

  async thread(postId) {
    const rows = await Comment.findAll({
      where: { postId },
      include: [{ model: User, as: 'user' }],
      order: [
        ['createdAt', 'ASC'],
        ['id', 'ASC'],
      ],
      limit: work.threadLimit + 1,
    });
    const children = new Map();
    for (const row of rows) {
      if (!children.has(row.parentId)) children.set(row.parentId, []);
      children.get(row.parentId).push(row);
    }
    const found = [];
    const waiting = (children.get(null) ?? []).reverse().map((row) => [row, 1]);
    while (waiting.length) {
      const [row, depth] = waiting.pop();
      found.push([row, depth]);
      for (const child of (children.get(row.id) ?? []).reverse()) waiting.push([child, depth + 1]);
    }
    return found;
  },

  reply(postId, userId, body, parentId) {
    return atomic(async (transaction) => {
      const parent = await Comment.findByPk(parentId, locked(transaction, true));
      if (parent.postId !== postId || parent.deletedAt) throw new Error(`${parentId} is no parent`);
      const comment = await Comment.create({ postId, userId, body, parentId }, { transaction });
      await Log.create(
        { postId, commentId: comment.id, actorId: userId, action: 'comment_added', metadata: { parentId } },
        { transaction },
      );
    });
  },

  async pay(account, reference) {
    await initiate(account, reference);
    await commitMove('fund');
    await commitMove('hold');
  },

  async cycle(account, reference) {
    await operations.pay(account, reference);
    await commitMove('release');
  },

  async dispute() {
    const opened = await atomic(async (transaction) => {
      await applyMove(transaction, 'dispute');
      const row = await Case.create(
        {
          escrowTransactionId: payment.id,
          openedById: work.customer,
          stage: 'intake',
          status: 'open',
          priority: 'medium',
          reasonCode: work.reason,
          summary: work.summary,
          openedAt: new Date(),
        },
        { transaction },
      );
      await addEvent(transaction, row.id, 'customer', 'comment', work.summary, work.opening);
      return row;
    });
    await atomic(async (transaction) => {
      await lockActive(opened.id, transaction);
      await addEvent(transaction, opened.id, 'system', 'comment', work.note);
    });
    await atomic(async (transaction) => {
      await applyMove(transaction, 'refund');
      const row = await lockActive(opened.id, transaction);
      const change = { status: 'settled', stage: 'resolved', resolutionNotes: work.resolution, resolvedAt: new Date() };
      await row.update(change, { transaction });
      await addEvent(transaction, opened.id, 'admin', 'status_change', work.resolution, work.ending);
    });
  },

  publish(count) {
    return rolledBack(async (transaction) => {
      for (let number = 0; number < count; number++) await Post.create(newPost(number), { transaction });
    });
  },

  publish_all(count) {
    const posts = Array.from({ length: count }, (_, number) => newPost(number));
    return rolledBack((transaction) => Post.bulkCreate(posts, { transaction }));
  },

  load_posts: (limit) => Post.findAll({ limit }),
  load_transactions: (limit) => Payment.findAll({ limit }),
  release_queue: () =>
    Payment.findAll({
      where: { status: 'in_escrow', scheduledReleaseAt: { [Op.lte]: new Date() } },
      order: [
        ['scheduledReleaseAt', 'ASC'],
        ['id', 'ASC'],
      ],
      limit: work.queue,
    }),
};

async function run({ operation, calls }) {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  let found;
  for (const values of calls) found = await operations[operation](...values);
  const wall = Number(process.hrtime.bigint() - start) / 1e6;
  const used = process.cpuUsage(cpu);
  return { wall, cpu: (used.user + used.system) / 1e3, rows: Array.isArray(found) ? found.length : 0 };
}

async function main() {
  await db.authenticate();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = await run(JSON.parse(line));
    } catch (error) {
      answer = { error: String(error.stack ?? error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await db.close();
}

main();
