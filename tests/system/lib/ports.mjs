import crypto from 'node:crypto';
import net from 'node:net';

const given = new Set();

/**
 * A TCP port on 127.0.0.1 that is free now, never the same one twice. Below
 * the range from which the kernel takes ports for outgoing connections: a
 * server that is restarted must find its port free again.
 */
export async function freePort() {
  for (;;) {
    const port = crypto.randomInt(15_000, 32_000);
    if (given.has(port)) continue;
    const free = await new Promise((resolve) => {
      const server = net.createServer();
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => {
        server.close(() => resolve(true));
      });
    });
    if (!free) continue;
    given.add(port);
    return port;
  }
}

/** Listens on 127.0.0.1 and resolves to the port. */
export function listen(server, port = 0) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.removeListener('error', reject);
      resolve(server.address().port);
    });
  });
}

/** Closes a server together with its connections, which it must collect. */
export function close(server, sockets) {
  for (const socket of sockets) socket.destroy();
  return new Promise((resolve) => server.close(() => resolve()));
}
