'use strict';

module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.addColumn('feed_posts', 'pinned', { type: Sequelize.BOOLEAN, allowNull: true });
  },

  async down(queryInterface) {
    await queryInterface.removeColumn('feed_posts', 'pinned');
  },
};
