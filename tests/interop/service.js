'use strict';

const readline = require('node:readline');
const { Transaction } = require('sequelize');
const { defineModels } = require('./models');

const ATTEMPTS = 40;
// Deadlocks, waits that ended, and on SQLite another writer: the transaction is rolled back and run again.
const LOST = /deadlock|lock wait|could not serialize|SQLITE_BUSY|database is locked|record has changed/i;
const PLACES = 10000n;

/** Money is text of four places; sums are exact. */
const units = (text) => {
  const [whole, places = ''] = String(text).split('.');
  return BigInt(whole) * PLACES + BigInt(places.padEnd(4, '0'));
};
const money = (amount) => `${amount / PLACES}.${String(amount % PLACES).padStart(4, '0')}`;
const never = (amount) => (amount < 0n ? 0n : amount);

class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.name = code;
  }
}

/**
 * The trust service: what it does in one step is one transaction of the database, which locks the escrow transaction
 * first and then its account.
 */
class TrustService {
  constructor(sequelize, models) {
    this.sequelize = sequelize;
    this.models = models;
    this.last = Promise.resolve();
  }

  /** Runs `work` in a transaction; on SQLite, which has one writer at a time, after those that were asked for before. */
  atomically(work) {
    if (this.sequelize.getDialect() !== 'sqlite') {
      return this.attempt(work);
    }
    const done = this.last.then(() => this.attempt(work));
    this.last = done.catch(() => {});
    return done;
  }

  /** Runs `work` in a transaction, again if the server ended it for the sake of another one. */
  async attempt(work) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.sequelize.transaction({ type: Transaction.TYPES.IMMEDIATE }, work);
      } catch (error) {
        if (attempt === ATTEMPTS || !LOST.test(`${error.message} ${error.parent?.message}`)) {
          throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 20 * attempt));
      }
    }
  }

  async locked(model, id, transaction) {
    const row = await this.models[model].findByPk(id, { transaction, lock: transaction.LOCK.UPDATE });
    if (!row) {
      throw new Refusal('NotFound', `there is no ${model} ${id}`);
    }
    return row;
  }

  /** The trail as Node keeps it: what is no array is taken for no entries. */
  appended(row, entry) {
    const trail = Array.isArray(row.auditTrail) ? [...row.auditTrail] : [];
    return [...trail, { notes: null, metadata: null, ...entry, at: new Date().toISOString() }];
  }

  /** Adds to an account or takes from it, never below zero, and makes it active. */
  async book(account, amount, net, transaction) {
    await account.update({
      status: 'active',
      currentBalance: money(never(units(account.currentBalance) + amount)),
      pendingReleaseTotal: money(never(units(account.pendingReleaseTotal) + net)),
      lastReconciledAt: new Date(),
    }, { transaction });
  }

  /** Creates a transaction that is in escrow and booked at once, whatever the status of its account. */
  async initiate({ accountId, reference, amount, fee = '0', actorId, ...values }) {
    const net = money(units(amount) - units(fee));
    const row = await this.atomically(async (transaction) => {
      const created = await this.models.EscrowTransaction.create({
        ...values,
        accountId,
        reference,
        status: 'in_escrow',
        amount: money(units(amount)),
        feeAmount: money(units(fee)),
        netAmount: net,
        initiatedById: actorId,
        auditTrail: this.appended({}, {
          action: 'initiated', actorId, amount: Number(amount), fee: Number(fee), net: Number(net),
        }),
      }, { transaction });
      const account = await this.locked('EscrowAccount', accountId, transaction);
      await this.book(account, units(amount), units(net), transaction);
      return created;
    });
    return { id: row.id };
  }

  async settle(id, status, actorId, notes) {
    return this.atomically(async (transaction) => {
      const row = await this.locked('EscrowTransaction', id, transaction);
      if (['released', 'refunded', 'cancelled'].includes(row.status)) {
        return { changed: false, status: row.status };
      }
      const account = await this.locked('EscrowAccount', row.accountId, transaction);
      await this.book(account, -units(row.amount), -units(row.netAmount), transaction);
      await row.update({
        status,
        [`${status}At`]: new Date(),
        auditTrail: this.appended(row, { action: status, actorId, notes: notes ?? null }),
      }, { transaction });
      return { changed: true, status };
    });
  }

  release({ id, actorId = null, notes }) {
    return this.settle(id, 'released', actorId, notes);
  }

  refund({ id, actorId = null, notes }) {
    return this.settle(id, 'refunded', actorId, notes);
  }

  /** Opens a case over any transaction, whatever became of it, with its summary as the first comment. */
  async dispute({ id, actorId, reasonCode = 'late', summary }) {
    return this.atomically(async (transaction) => {
      const row = await this.locked('EscrowTransaction', id, transaction);
      const dispute = await this.models.DisputeCase.create({
        escrowTransactionId: id, openedById: actorId, reasonCode, summary,
      }, { transaction });
      await this.models.DisputeEvent.create({
        disputeCaseId: dispute.id,
        actorId,
        actorType: 'customer',
        actionType: 'comment',
        notes: summary,
        metadata: { system: true },
      }, { transaction });
      await row.update({
        status: 'disputed',
        auditTrail: this.appended(row, { action: 'dispute_opened', actorId, reasonCode }),
      }, { transaction });
      return { id: dispute.id };
    });
  }

  /** Changes a case as asked, to any stage and status; its transaction and the money stay as they are. */
  async updateCase({ id, actorId = null, ...changes }) {
    return this.atomically(async (transaction) => {
      const dispute = await this.locked('DisputeCase', id, transaction);
      const isEnd = ['settled', 'closed'].includes(changes.status);
      await dispute.update({ ...changes, ...(isEnd ? { resolvedAt: new Date() } : {}) }, { transaction });
      await this.models.DisputeEvent.create({
        disputeCaseId: id, actorId, actorType: 'admin', actionType: 'status_change', metadata: { updates: changes },
      }, { transaction });
      return { id };
    });
  }

  /** Changes an account as asked, its currency too while it holds money. */
  async updateAccount({ id, ...changes }) {
    return this.atomically(async (transaction) => {
      const account = await this.locked('EscrowAccount', id, transaction);
      await account.update({ ...changes, lastReconciledAt: new Date() }, { transaction });
      return { id };
    });
  }

  async read({ id }) {
    return (await this.models.EscrowTransaction.findByPk(id)).toJSON();
  }
}

const verbs = ['initiate', 'release', 'refund', 'dispute', 'updateCase', 'updateAccount', 'read'];

/**
 * Answers requests, one JSON object a line: {"number", "verb", ...arguments} with {"number", "result"} or
 * {"number", "error", "message"}. Requests are worked on side by side; the end of the input ends the service.
 */
async function serve(sequelize) {
  const service = new TrustService(sequelize, await defineModels(sequelize));
  const working = [];
  const answer = (number, said) => process.stdout.write(`${JSON.stringify({ number, ...said })}\n`);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { number, verb, ...values } = JSON.parse(line);
    const work = verbs.includes(verb)
      ? service[verb](values)
      : Promise.reject(new Refusal('UnknownVerb', `no verb is called ${verb}`));
    working.push(work.then(
      (result) => answer(number, { result }),
      (error) => answer(number, { error: error.name, message: error.message }),
    ));
  }
  await Promise.all(working);
}

module.exports = { serve };
