'use strict';

const { connect } = require('./connect');
const { migrate, migrations, undo } = require('./migrate');
const { defineModels } = require('./models');
const { createPlatform } = require('./platform');
const { recordStatements } = require('./record');
const { readRows, writeRows } = require('./rows');
const { serve } = require('./service');
const { tryViolations } = require('./violations');

const usage = `usage: node driver.js <url> <command>
  platform                       create users, projects and gigs as a live platform has them, with rows
  migrate [feed|trust|owner|all] run these Sequelize migrations where SequelizeMeta lacks them; default all
  add-column                     run the later migration that adds feed_posts.pinned
  undo                           take back the newest Sequelize migration
  record                         do platform and migrate; print the SQL that changed the schema
  write                          write rows into every shared table; print what was written and read back
  read                           print every row of every table
  violate                        try what the contract refuses or cascades; print what came of it
  serve                          be the trust service: requests on standard input, answers on standard output`;

const selections = {
  feed: [migrations.feed],
  trust: [migrations.trust],
  owner: [migrations.owner],
  all: [migrations.feed, migrations.trust, migrations.owner],
};

const commands = {
  async platform(sequelize) {
    await createPlatform(sequelize);
    return { created: ['users', 'projects', 'gigs'] };
  },
  async migrate(sequelize, selection = 'all') {
    if (!(selection in selections)) {
      throw new Error(`no migrations are called ${selection}; choose ${Object.keys(selections).join(', ')}`);
    }
    return { migrated: await migrate(sequelize, selections[selection]) };
  },
  async 'add-column'(sequelize) {
    return { migrated: await migrate(sequelize, [migrations.pinned]) };
  },
  async undo(sequelize) {
    return { undone: await undo(sequelize) };
  },
  async record(sequelize) {
    return recordStatements(sequelize);
  },
  async write(sequelize) {
    const models = await defineModels(sequelize);
    const written = await writeRows(sequelize, models);
    return { written, read: await readRows(models) };
  },
  async read(sequelize) {
    return readRows(await defineModels(sequelize));
  },
  async violate(sequelize) {
    return tryViolations(await defineModels(sequelize));
  },
  async serve(sequelize) {
    await serve(sequelize);
    return '';
  },
};

async function main(url, command, ...options) {
  if (!url || !(command in commands)) {
    console.error(usage);
    process.exitCode = 2;
    return;
  }
  const sequelize = connect(url);
  try {
    const result = await commands[command](sequelize, ...options);
    process.stdout.write(typeof result === 'string' ? result : `${JSON.stringify(result, null, 2)}\n`);
  } catch (error) {
    console.error(`${command} failed: ${error.name}: ${error.message}`);
    process.exitCode = 1;
  } finally {
    await sequelize.close();
  }
}

main(...process.argv.slice(2));
