'use strict';

const enumTypes = ['enum_feed_posts_visibility', 'enum_feed_reactions_reactionType'];

module.exports = {
  async up(queryInterface, Sequelize) {
    const { INTEGER, STRING, TEXT, DATE, ENUM } = Sequelize;
    const json = queryInterface.sequelize.getDialect() === 'postgres' ? Sequelize.JSONB : Sequelize.JSON;
    const now = Sequelize.literal('CURRENT_TIMESTAMP');
    const id = { type: INTEGER, primaryKey: true, autoIncrement: true, allowNull: false };
    const timestamp = { type: DATE, allowNull: false, defaultValue: now };
    const reference = (model, onDelete) => ({
      type: INTEGER,
      allowNull: onDelete === 'SET NULL',
      references: { model, key: 'id' },
      onUpdate: 'CASCADE',
      onDelete,
    });

    await queryInterface.createTable('feed_posts', {
      id,
      userId: reference('users', 'CASCADE'),
      content: { type: TEXT, allowNull: false },
      visibility: { type: ENUM('public', 'connections'), allowNull: false, defaultValue: 'public' },
      metadata: { type: json, allowNull: true },
      createdAt: timestamp,
      updatedAt: timestamp,
    });
    await queryInterface.addIndex('feed_posts', ['createdAt']);
    await queryInterface.addIndex('feed_posts', ['visibility', 'createdAt']);
    await queryInterface.addIndex('feed_posts', ['userId', 'createdAt']);

    await queryInterface.createTable('feed_reactions', {
      id,
      postId: reference('feed_posts', 'CASCADE'),
      userId: reference('users', 'CASCADE'),
      reactionType: {
        type: ENUM('like', 'celebrate', 'support', 'love', 'insightful'),
        allowNull: false,
        defaultValue: 'like',
      },
      createdAt: timestamp,
      updatedAt: timestamp,
    });
    await queryInterface.addIndex('feed_reactions', ['postId', 'userId'], {
      unique: true,
      name: 'feed_reactions_post_user_unique',
    });
    await queryInterface.addIndex('feed_reactions', ['userId']);
    await queryInterface.addIndex('feed_reactions', ['postId', 'reactionType']);

    await queryInterface.createTable('feed_comments', {
      id,
      postId: reference('feed_posts', 'CASCADE'),
      userId: reference('users', 'CASCADE'),
      parentId: reference('feed_comments', 'SET NULL'),
      body: { type: TEXT, allowNull: false },
      metadata: { type: json, allowNull: true },
      deletedAt: { type: DATE, allowNull: true },
      createdAt: timestamp,
      updatedAt: timestamp,
    });
    await queryInterface.addIndex('feed_comments', ['postId', 'createdAt']);
    await queryInterface.addIndex('feed_comments', ['parentId']);
    await queryInterface.addIndex('feed_comments', ['userId']);

    await queryInterface.createTable('feed_shares', {
      id,
      postId: reference('feed_posts', 'CASCADE'),
      userId: reference('users', 'CASCADE'),
      channel: { type: STRING(60), allowNull: false },
      message: { type: TEXT, allowNull: true },
      createdAt: timestamp,
      updatedAt: timestamp,
    });
    await queryInterface.addIndex('feed_shares', ['postId', 'createdAt']);
    await queryInterface.addIndex('feed_shares', ['userId']);
    await queryInterface.addIndex('feed_shares', ['channel', 'createdAt']);

    await queryInterface.createTable('feed_activity_logs', {
      id,
      postId: reference('feed_posts', 'SET NULL'),
      commentId: reference('feed_comments', 'SET NULL'),
      actorId: reference('users', 'SET NULL'),
      action: { type: STRING(80), allowNull: false },
      metadata: { type: json, allowNull: true },
      createdAt: timestamp,
    });
    await queryInterface.addIndex('feed_activity_logs', ['postId', 'createdAt']);
    await queryInterface.addIndex('feed_activity_logs', ['commentId']);
    await queryInterface.addIndex('feed_activity_logs', ['actorId', 'createdAt']);
    await queryInterface.addIndex('feed_activity_logs', ['action', 'createdAt']);
  },

  async down(queryInterface) {
    await queryInterface.dropTable('feed_activity_logs');
    await queryInterface.dropTable('feed_shares');
    await queryInterface.dropTable('feed_comments');
    await queryInterface.dropTable('feed_reactions');
    await queryInterface.dropTable('feed_posts');
    if (queryInterface.sequelize.getDialect() === 'postgres') {
      for (const name of enumTypes) {
        await queryInterface.sequelize.query(`DROP TYPE IF EXISTS "${name}"`);
      }
    }
  },
};
