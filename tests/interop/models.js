'use strict';

const { DataTypes } = require('sequelize');

/**
 * Defines the nine shared tables and the platform tables they point at, as a Node service sees them.
 *
 * Columns with a default in the database carry neither `defaultValue` nor `allowNull: false`: Sequelize
 * would otherwise fill or refuse them before the database could.
 */
async function defineModels(sequelize) {
  const dialect = sequelize.getDialect();

  const id = () => ({ type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true });
  const time = () => ({ type: DataTypes.DATE(6) });
  const choice = (...values) => ({ type: DataTypes.ENUM(...values) });
  const text = (allowNull = true) => ({ type: DataTypes.TEXT, allowNull });
  const string = (length, allowNull = true) => ({ type: DataTypes.STRING(length), allowNull });
  const reference = (model, onDelete) => ({
    type: DataTypes.INTEGER,
    allowNull: onDelete === 'SET NULL',
    references: { model, key: 'id' },
    onDelete,
  });

  const document = () => ({ type: dialect === 'postgres' ? DataTypes.JSONB : DataTypes.JSON });

  // SQLite hands a DECIMAL back as a number, the other servers as a string of four places.
  const money = (name, extra = {}) => ({
    type: DataTypes.DECIMAL(18, 4),
    get() {
      const value = this.getDataValue(name);
      return typeof value === 'number' ? value.toFixed(4) : value;
    },
    ...extra,
  });

  // Sequelize's own timestamp columns have no fraction of a second on MySQL and MariaDB.
  const define = (name, tableName, columns, options = {}) => sequelize.define(
    name,
    {
      id: id(),
      ...columns,
      createdAt: time(),
      ...(options.updatedAt === false ? {} : { updatedAt: time() }),
    },
    { tableName, freezeTableName: true, timestamps: true, ...options },
  );

  const User = define('User', 'users', {
    firstName: string(255),
    lastName: string(255),
    email: string(255),
  });

  const Project = define('Project', 'projects', {
    title: string(255),
    description: text(),
    status: string(255),
    ownerId: reference('users', 'SET NULL'),
  });

  const Gig = define('Gig', 'gigs', {
    title: string(255),
    description: text(),
  });

  const FeedPost = define('FeedPost', 'feed_posts', {
    userId: reference('users', 'CASCADE'),
    content: text(false),
    visibility: choice('public', 'connections'),
    metadata: document(),
  });

  const FeedReaction = define('FeedReaction', 'feed_reactions', {
    postId: reference('feed_posts', 'CASCADE'),
    userId: reference('users', 'CASCADE'),
    reactionType: choice('like', 'celebrate', 'support', 'love', 'insightful'),
  });

  const FeedComment = define('FeedComment', 'feed_comments', {
    postId: reference('feed_posts', 'CASCADE'),
    userId: reference('users', 'CASCADE'),
    parentId: reference('feed_comments', 'SET NULL'),
    body: text(false),
    metadata: document(),
    deletedAt: time(),
  });

  const FeedShare = define('FeedShare', 'feed_shares', {
    postId: reference('feed_posts', 'CASCADE'),
    userId: reference('users', 'CASCADE'),
    channel: string(60, false),
    message: text(),
  });

  const FeedActivityLog = define('FeedActivityLog', 'feed_activity_logs', {
    postId: reference('feed_posts', 'SET NULL'),
    // No foreign key: the log keeps the number of a comment that is gone.
    commentId: { type: DataTypes.INTEGER },
    actorId: reference('users', 'SET NULL'),
    action: string(80, false),
    metadata: document(),
  }, { updatedAt: false });

  const EscrowAccount = define('EscrowAccount', 'escrow_accounts', {
    userId: reference('users', 'RESTRICT'),
    provider: string(80, false),
    externalId: string(120),
    status: choice('pending', 'active', 'suspended', 'closed'),
    currencyCode: string(3),
    currentBalance: money('currentBalance'),
    pendingReleaseTotal: money('pendingReleaseTotal'),
    metadata: document(),
    lastReconciledAt: time(),
  });

  const EscrowTransaction = define('EscrowTransaction', 'escrow_transactions', {
    accountId: reference('escrow_accounts', 'RESTRICT'),
    reference: { ...string(120, false), unique: true },
    externalId: string(120),
    type: choice('project', 'gig', 'milestone', 'retainer'),
    status: choice('initiated', 'funded', 'in_escrow', 'released', 'refunded', 'cancelled', 'disputed'),
    amount: money('amount', { allowNull: false }),
    currencyCode: string(3),
    feeAmount: money('feeAmount'),
    netAmount: money('netAmount'),
    initiatedById: reference('users', 'RESTRICT'),
    counterpartyId: reference('users', 'SET NULL'),
    projectId: reference('projects', 'SET NULL'),
    gigId: reference('gigs', 'SET NULL'),
    milestoneLabel: string(180),
    scheduledReleaseAt: time(),
    releasedAt: time(),
    refundedAt: time(),
    cancelledAt: time(),
    metadata: document(),
    auditTrail: document(),
  });

  const DisputeCase = define('DisputeCase', 'dispute_cases', {
    escrowTransactionId: reference('escrow_transactions', 'RESTRICT'),
    openedById: reference('users', 'RESTRICT'),
    assignedToId: reference('users', 'SET NULL'),
    stage: choice('intake', 'mediation', 'arbitration', 'resolved'),
    status: choice('open', 'awaiting_customer', 'under_review', 'settled', 'closed'),
    priority: choice('low', 'medium', 'high', 'urgent'),
    reasonCode: string(80, false),
    summary: text(false),
    customerDeadlineAt: time(),
    providerDeadlineAt: time(),
    resolutionNotes: text(),
    openedAt: time(),
    resolvedAt: time(),
    metadata: document(),
  });

  const DisputeEvent = define('DisputeEvent', 'dispute_events', {
    disputeCaseId: reference('dispute_cases', 'RESTRICT'),
    actorId: reference('users', 'SET NULL'),
    actorType: choice('customer', 'provider', 'mediator', 'admin', 'system'),
    actionType: choice(
      'comment', 'evidence_upload', 'deadline_adjusted', 'stage_advanced', 'status_change', 'system_notice',
    ),
    notes: text(),
    evidenceKey: string(255),
    evidenceUrl: text(),
    evidenceFileName: string(180),
    evidenceContentType: string(80),
    eventAt: time(),
    metadata: document(),
  });

  return {
    User,
    Project,
    Gig,
    FeedPost,
    FeedReaction,
    FeedComment,
    FeedShare,
    FeedActivityLog,
    EscrowAccount,
    EscrowTransaction,
    DisputeCase,
    DisputeEvent,
  };
}

module.exports = { defineModels };
