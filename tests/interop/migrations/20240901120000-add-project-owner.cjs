'use strict';

module.exports = {
  async up(queryInterface, Sequelize) {
    await queryInterface.addColumn('projects', 'ownerId', {
      type: Sequelize.INTEGER,
      allowNull: true,
      references: { model: 'users', key: 'id' },
      onUpdate: 'CASCADE',
      onDelete: 'SET NULL',
    });
    await queryInterface.addIndex('projects', ['ownerId'], { name: 'projects_owner_id_idx' });
  },

  async down(queryInterface) {
    // removeColumn drops the foreign key first; MySQL refuses to drop the index while the key needs it.
    await queryInterface.removeColumn('projects', 'ownerId');
  },
};
