'use strict';

const path = require('node:path');
const { DataTypes, Sequelize } = require('sequelize');

const migrations = {
  feed: '20240801090000-feed-engagement.cjs',
  trust: '20240801090000-trust-payments.cjs',
  owner: '20240901120000-add-project-owner.cjs',
  pinned: '20241015090000-add-post-pinned.cjs',
};

const load = (name) => require(path.join(__dirname, 'migrations', name));

/** The history table in the shape that sequelize-cli gives it, created where it is missing. */
async function history(sequelize) {
  const SequelizeMeta = sequelize.define('SequelizeMeta', {
    name: { type: DataTypes.STRING, allowNull: false, unique: true, primaryKey: true },
  }, { tableName: 'SequelizeMeta', timestamps: false });
  await SequelizeMeta.sync();
  return SequelizeMeta;
}

/** Runs the named migrations that the history does not hold yet; returns the names of those that ran. */
async function migrate(sequelize, names) {
  const meta = await history(sequelize);
  const applied = new Set((await meta.findAll()).map((row) => row.name));
  const pending = names.filter((name) => !applied.has(name));
  for (const name of pending) {
    await load(name).up(sequelize.getQueryInterface(), Sequelize);
    await meta.create({ name });
  }
  return pending;
}

/** Takes back the newest migration in the history; returns its name, or nothing where there is none. */
async function undo(sequelize) {
  const meta = await history(sequelize);
  const newest = await meta.findOne({ order: [['name', 'DESC']] });
  if (!newest) {
    return [];
  }
  await load(newest.name).down(sequelize.getQueryInterface(), Sequelize);
  await newest.destroy();
  return [newest.name];
}

module.exports = { migrations, migrate, undo };
