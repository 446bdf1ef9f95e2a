import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { Postgres } from './postgres.mjs';

let postgres;
before(async () => { postgres = await Postgres.start(); });
after(() => postgres?.remove());

const reachable = () => new Promise((resolve) => {
  const socket = net.connect(postgres.port, '127.0.0.1');
  socket.on('connect', () => { socket.destroy(); resolve(true); });
  socket.on('error', () => resolve(false));
});

test('a PostgreSQL starts, crashes and comes back on the same port', async () => {
  const { port } = postgres;
  assert.ok(await reachable());
  await postgres.stop('immediate');
  assert.ok(!await reachable());
  await postgres.start();
  assert.equal(postgres.port, port);
  assert.ok(await reachable());
});
