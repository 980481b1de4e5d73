'use strict';

const { DataTypes } = require('sequelize');

/**
 * Creates `users`, `projects` and `gigs` as a live platform has them, with more columns than the shared
 * models know, and a few rows in each. `projects` has no ownerId: a migration adds it.
 */
async function createPlatform(sequelize) {
  const required = (type) => ({ type, allowNull: false });
  const options = { freezeTableName: true, timestamps: true };

  const users = sequelize.define('users', {
    firstName: required(DataTypes.STRING),
    lastName: required(DataTypes.STRING),
    email: { ...required(DataTypes.STRING), unique: true },
    // Null for people who sign in through another service.
    password: DataTypes.STRING,
    userType: {
      ...required(DataTypes.ENUM('user', 'company', 'freelancer', 'agency', 'admin')),
      defaultValue: 'user',
    },
    age: DataTypes.INTEGER,
    twoFactorEnabled: { ...required(DataTypes.BOOLEAN), defaultValue: true },
    createdAt: createdAt(),
    updatedAt: createdAt(),
  }, options);

  const projects = sequelize.define('projects', {
    title: required(DataTypes.STRING),
    description: required(DataTypes.TEXT),
    status: { ...required(DataTypes.STRING), defaultValue: 'draft' },
    location: DataTypes.STRING,
    budgetAmount: DataTypes.DECIMAL(12, 2),
    createdAt: createdAt(),
    updatedAt: createdAt(),
  }, { ...options, indexes: [{ fields: ['status'] }] });

  const gigs = sequelize.define('gigs', {
    title: required(DataTypes.STRING),
    description: required(DataTypes.TEXT),
    budget: DataTypes.STRING,
    createdAt: createdAt(),
    updatedAt: createdAt(),
  }, options);

  await sequelize.sync();
  await users.bulkCreate([
    { firstName: 'Grace', lastName: 'Hopper', email: 'grace@example.org', password: 'not-a-hash', userType: 'admin' },
    { firstName: 'Alan', lastName: 'Turing', email: 'alan@example.org', age: 41 },
    { firstName: 'Zoë', lastName: 'Ångström', email: 'zoe@example.org', userType: 'freelancer' },
  ]);
  await projects.bulkCreate([
    { title: 'Compiler', description: 'A compiler for everyone', status: 'active', budgetAmount: '1500.50' },
    { title: 'Archive', description: 'Keep the old tapes', location: 'Zürich' },
  ]);
  await gigs.bulkCreate([{ title: 'Logo', description: 'Draw a logo', budget: '200-300' }]);
}

function createdAt() {
  return { type: DataTypes.DATE, allowNull: false, defaultValue: DataTypes.NOW };
}

module.exports = { createPlatform };
