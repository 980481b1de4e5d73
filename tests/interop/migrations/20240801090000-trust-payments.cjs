'use strict';

const enumTypes = [
  'enum_escrow_accounts_status',
  'enum_escrow_transactions_type',
  'enum_escrow_transactions_status',
  'enum_dispute_cases_stage',
  'enum_dispute_cases_status',
  'enum_dispute_cases_priority',
  'enum_dispute_events_actorType',
  'enum_dispute_events_actionType',
];

module.exports = {
  async up(queryInterface, Sequelize) {
    const { INTEGER, STRING, TEXT, DATE, ENUM, DECIMAL } = Sequelize;
    const json = queryInterface.sequelize.getDialect() === 'postgres' ? Sequelize.JSONB : Sequelize.JSON;
    const id = { type: INTEGER, primaryKey: true, autoIncrement: true, allowNull: false };
    const timestamp = { type: DATE, allowNull: false, defaultValue: Sequelize.literal('CURRENT_TIMESTAMP') };
    const money = { type: DECIMAL(18, 4), allowNull: false, defaultValue: 0 };
    const currency = { type: STRING(3), allowNull: false, defaultValue: 'USD' };
    const reference = (model, onDelete) => ({
      type: INTEGER,
      allowNull: onDelete === 'SET NULL',
      references: { model, key: 'id' },
      onUpdate: 'CASCADE',
      onDelete,
    });

    await queryInterface.createTable('escrow_accounts', {
      id,
      userId: reference('users', 'CASCADE'),
      provider: { type: STRING(80), allowNull: false },
      externalId: { type: STRING(120), allowNull: true },
      status: {
        type: ENUM('pending', 'active', 'suspended', 'closed'),
        allowNull: false,
        defaultValue: 'pending',
      },
      currencyCode: currency,
      currentBalance: money,
      pendingReleaseTotal: money,
      metadata: { type: json, allowNull: true },
      lastReconciledAt: { type: DATE, allowNull: true },
      createdAt: timestamp,
      updatedAt: timestamp,
    });
    await queryInterface.addIndex('escrow_accounts', ['userId']);
    await queryInterface.addIndex('escrow_accounts', ['provider']);
    await queryInterface.addIndex('escrow_accounts', ['status']);

    await queryInterface.createTable('escrow_transactions', {
      id,
      accountId: reference('escrow_accounts', 'CASCADE'),
      reference: { type: STRING(120), allowNull: false, unique: true },
      externalId: { type: STRING(120), allowNull: true },
      type: {
        type: ENUM('project', 'gig', 'milestone', 'retainer'),
        allowNull: false,
        defaultValue: 'project',
      },
      status: {
        type: ENUM('initiated', 'funded', 'in_escrow', 'released', 'refunded', 'cancelled', 'disputed'),
        allowNull: false,
        defaultValue: 'initiated',
      },
      amount: { type: DECIMAL(18, 4), allowNull: false },
      currencyCode: currency,
      feeAmount: money,
      netAmount: money,
      initiatedById: reference('users', 'RESTRICT'),
      counterpartyId: reference('users', 'SET NULL'),
      projectId: reference('projects', 'SET NULL'),
      gigId: reference('gigs', 'SET NULL'),
      milestoneLabel: { type: STRING(180), allowNull: true },
      scheduledReleaseAt: { type: DATE, allowNull: true },
      releasedAt: { type: DATE, allowNull: true },
      refundedAt: { type: DATE, allowNull: true },
      cancelledAt: { type: DATE, allowNull: true },
      metadata: { type: json, allowNull: true },
      auditTrail: { type: json, allowNull: true },
      createdAt: timestamp,
      updatedAt: timestamp,
    });
    await queryInterface.addIndex('escrow_transactions', ['accountId']);
    await queryInterface.addIndex('escrow_transactions', ['status'], { name: 'escrow_transactions_status_idx' });
    await queryInterface.addIndex('escrow_transactions', ['projectId']);
    await queryInterface.addIndex('escrow_transactions', ['gigId']);
    await queryInterface.addIndex('escrow_transactions', ['scheduledReleaseAt']);

    await queryInterface.createTable('dispute_cases', {
      id,
      escrowTransactionId: reference('escrow_transactions', 'CASCADE'),
      openedById: reference('users', 'CASCADE'),
      assignedToId: reference('users', 'SET NULL'),
      stage: {
        type: ENUM('intake', 'mediation', 'arbitration', 'resolved'),
        allowNull: false,
        defaultValue: 'intake',
      },
      status: {
        type: ENUM('open', 'awaiting_customer', 'under_review', 'settled', 'closed'),
        allowNull: false,
        defaultValue: 'open',
      },
      priority: {
        type: ENUM('low', 'medium', 'high', 'urgent'),
        allowNull: false,
        defaultValue: 'medium',
      },
      reasonCode: { type: STRING(80), allowNull: false },
      summary: { type: TEXT, allowNull: false },
      customerDeadlineAt: { type: DATE, allowNull: true },
      providerDeadlineAt: { type: DATE, allowNull: true },
      resolutionNotes: { type: TEXT, allowNull: true },
      openedAt: timestamp,
      resolvedAt: { type: DATE, allowNull: true },
      metadata: { type: json, allowNull: true },
      createdAt: timestamp,
      updatedAt: timestamp,
    });
    await queryInterface.addIndex('dispute_cases', ['escrowTransactionId']);
    await queryInterface.addIndex('dispute_cases', ['stage']);
    await queryInterface.addIndex('dispute_cases', ['status']);
    await queryInterface.addIndex('dispute_cases', ['priority']);

    await queryInterface.createTable('dispute_events', {
      id,
      disputeCaseId: reference('dispute_cases', 'CASCADE'),
      actorId: reference('users', 'SET NULL'),
      actorType: {
        type: ENUM('customer', 'provider', 'mediator', 'admin', 'system'),
        allowNull: false,
        defaultValue: 'system',
      },
      actionType: {
        type: ENUM(
          'comment', 'evidence_upload', 'deadline_adjusted', 'stage_advanced', 'status_change', 'system_notice',
        ),
        allowNull: false,
        defaultValue: 'comment',
      },
      notes: { type: TEXT, allowNull: true },
      evidenceKey: { type: STRING(255), allowNull: true },
      evidenceUrl: { type: TEXT, allowNull: true },
      evidenceFileName: { type: STRING(180), allowNull: true },
      evidenceContentType: { type: STRING(80), allowNull: true },
      eventAt: timestamp,
      metadata: { type: json, allowNull: true },
      createdAt: timestamp,
      updatedAt: timestamp,
    });
    await queryInterface.addIndex('dispute_events', ['disputeCaseId', 'eventAt']);
    await queryInterface.addIndex('dispute_events', ['actorType']);
    await queryInterface.addIndex('dispute_events', ['actionType']);
  },

  async down(queryInterface) {
    await queryInterface.dropTable('dispute_events');
    await queryInterface.dropTable('dispute_cases');
    await queryInterface.dropTable('escrow_transactions');
    await queryInterface.dropTable('escrow_accounts');
    if (queryInterface.sequelize.getDialect() === 'postgres') {
      for (const name of enumTypes) {
        await queryInterface.sequelize.query(`DROP TYPE IF EXISTS "${name}"`);
      }
    }
  },
};
