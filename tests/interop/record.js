'use strict';

const { migrate, migrations } = require('./migrate');
const { createPlatform } = require('./platform');

/**
 * Creates the platform's tables and runs the migrations on an empty database.
 *
 * Returns every statement with which Sequelize changed the schema, word for word: one a line, each part (platform,
 * feed, trust, owner) under a comment with its name.
 */
async function recordStatements(sequelize) {
  const lines = [];
  const record = async (part, action) => {
    lines.push(`-- ${part}`);
    sequelize.options.logging = (line) => {
      const statement = line.replace(/^Executing \([^)]*\): /, '');
      if (/^(CREATE|ALTER|DROP|DO)\b/.test(statement)) {
        lines.push(statement.replace(/;?$/, ';'));
      }
    };
    await action();
  };
  await record('platform', () => createPlatform(sequelize));
  for (const part of ['feed', 'trust', 'owner']) {
    await record(part, () => migrate(sequelize, [migrations[part]]));
  }
  return `${lines.join('\n')}\n`;
}

module.exports = { recordStatements };
