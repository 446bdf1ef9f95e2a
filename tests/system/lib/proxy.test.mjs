import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { request } from './http.mjs';
import { close, listen } from './ports.mjs';
import { DAMAGES, Proxy } from './proxy.mjs';
import { Random } from './random.mjs';

test('a wire does what it is told, and afterwards it is whole again',
  async () => {
    const sockets = new Set();
    let asked = 0;
    const server = http.createServer((req, res) => {
      asked += 1;
      res.end('hello');
    });
    server.on('connection', (socket) => sockets.add(socket));
    const proxy = await Proxy.start(await listen(server));
    const get = () => request(`http://127.0.0.1:${proxy.port}/`,
      { timeout: 1_000 });
    try {
      assert.equal((await get()).text, 'hello');
      for (const damage of DAMAGES) {
        const before = asked;
        await proxy.set(damage);
        const since = Date.now();
        if (damage === 'slow') {
          assert.equal((await get()).text, 'hello');
          assert.ok(Date.now() - since >= proxy.delay);
        } else {
          await assert.rejects(get, damage);
        }
        assert.equal(asked - before, ['slow', 'half'].includes(damage) ? 1 : 0,
          damage);
        await proxy.set('open');
        assert.equal((await get()).text, 'hello', `after ${damage}`);
      }
    } finally {
      await proxy.stop();
      await close(server, sockets);
    }
  });

test('random choices can be made again', () => {
  const choices = (seed) => {
    const random = new Random(seed);
    const own = random.fork();
    return [random.between(1, 6), random.pick(['a', 'b', 'c']), own.next(),
      random.weighted([[1, 'x'], [3, 'y']])];
  };
  assert.deepEqual(choices(5), choices(5));
  assert.notDeepEqual(choices(5), choices(6));
});
