'use strict';

// Revision three, as a Sequelize migration has it: node migrate.js <url> up|down

const { Sequelize } = require('sequelize');

const migration = {
  async up(queryInterface) {
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
    // With removeIndex before it, MySQL and MariaDB refuse: the foreign key needs the index (1553).
    await queryInterface.removeColumn('projects', 'ownerId');
  },
};

async function main([url, direction]) {
  const sequelize = new Sequelize(url, { logging: false });
  try {
    await migration[direction](sequelize.getQueryInterface());
  } finally {
    await sequelize.close();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
