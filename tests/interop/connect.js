'use strict';

const { Sequelize } = require('sequelize');

const SQLITE_PREFIX = 'sqlite:///';

/**
 * A Sequelize over one database, in UTC and without logging.
 *
 * `url` is sqlite:////absolute/path, postgresql://, mysql:// or mariadb://. A MariaDB server takes either of
 * the last two.
 */
function connect(url) {
  const options = { logging: false, timezone: '+00:00' };
  if (url.startsWith(SQLITE_PREFIX)) {
    return new Sequelize({
      ...options,
      dialect: 'sqlite',
      dialectModule: require('@appthreat/sqlite3').default,
      storage: decodeURIComponent(url.slice(SQLITE_PREFIX.length)),
      foreignKeys: true,
    });
  }
  return new Sequelize(url, options);
}

module.exports = { connect };
