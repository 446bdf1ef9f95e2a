// graphql-transport-ws, as Railway serves it: the sub-protocol is demanded, and
// the token in the headers of the upgrade.

import { WebSocketServer } from 'ws';
import { getOperationAST, parse, specifiedRules, subscribe, validate,
  NoDeprecatedCustomRule } from 'graphql';

const PROTOCOL = 'graphql-transport-ws';

/**
 * Serves subscriptions on `server`.
 *
 * @param railway what is played: token, schema, requests, complaints,
 *   `streams()` (the root of subscriptions), and `socket`, which may be changed
 *   at any time: `open`; `refuse` the upgrade; `silent`: never acknowledge;
 *   `mute`: acknowledge and send nothing
 */
export function serveSockets(server, railway, schema) {
  const wss = new WebSocketServer({ noServer: true,
    handleProtocols: (offered) => (offered.has(PROTOCOL) ? PROTOCOL : false) });

  server.on('upgrade', (req, socket, head) => {
    const deny = (status) => socket.end(`HTTP/1.1 ${status}\r\n`
      + 'Content-Length: 0\r\nConnection: close\r\n\r\n');
    railway.upgrades.push({ at: Date.now(),
      protocol: req.headers['sec-websocket-protocol'],
      source: new URL(req.url, railway.url).searchParams.get('source') });
    if (railway.socket === 'refuse') return deny('503 Service Unavailable');
    if (req.headers.authorization !== `Bearer ${railway.token}`) {
      railway.complaints.push('an upgrade without the token in its headers');
      return deny('401 Unauthorized');
    }
    if (!(req.headers['sec-websocket-protocol'] ?? '').split(/\s*,\s*/)
      .includes(PROTOCOL)) {
      railway.complaints.push(`an upgrade without ${PROTOCOL}`);
      return deny('400 Bad Request');
    }
    return wss.handleUpgrade(req, socket, head,
      (ws) => converse(ws, railway, schema));
  });
  return wss;
}

function converse(ws, railway, schema) {
  const running = new Map();
  let acknowledged = false;
  const send = (message) => {
    if (ws.readyState === ws.OPEN) ws.send(JSON.stringify(message));
  };
  railway.watchers.add(ws);
  ws.on('error', () => {});
  ws.on('close', () => {
    railway.watchers.delete(ws);
    for (const stream of running.values()) stream.return?.();
  });
  ws.on('message', (data) => {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      railway.complaints.push('a message on the socket that is not JSON');
      ws.close(4400, 'Invalid message');
      return;
    }
    switch (message.type) {
      case 'connection_init':
        if (acknowledged) return ws.close(4429, 'Too many initialisations');
        if (railway.socket === 'silent') return undefined;
        acknowledged = true;
        return send({ type: 'connection_ack' });
      case 'ping':
        return send({ type: 'pong' });
      case 'pong':
        return undefined;
      case 'complete':
        running.get(message.id)?.return?.();
        running.delete(message.id);
        return undefined;
      case 'subscribe':
        if (!acknowledged) {
          railway.complaints.push('subscribed before the acknowledgement');
          return ws.close(4401, 'Unauthorized');
        }
        if (running.has(message.id)) {
          return ws.close(4409, `Subscriber for ${message.id} already exists`);
        }
        return stream(message).catch((error) => {
          railway.complaints.push(`imposter broke: ${error.stack}`);
        });
      default:
        railway.complaints.push(`unknown message ${message.type}`);
        return ws.close(4400, 'Invalid message');
    }
  });

  async function stream({ id, payload }) {
    const entry = railway.note({ transport: 'socket', query: payload?.query,
      variables: payload?.variables ?? {} });
    const refuse = (message) => {
      railway.complaints.push(`GRAPHQL_VALIDATION_FAILED: ${message}`);
      entry.outcome = message;
      send({ id, type: 'error', payload: [{ message }] });
    };
    let document;
    try {
      document = parse(String(payload?.query));
    } catch (error) {
      return refuse(error.message);
    }
    const wrong = validate(schema, document, specifiedRules);
    if (wrong.length) return refuse(wrong.map((e) => e.message).join('; '));
    entry.deprecated = validate(schema, document, [NoDeprecatedCustomRule])
      .map((e) => e.message);
    const operation = getOperationAST(document, payload.operationName);
    if (operation?.operation !== 'subscription') {
      return refuse('only subscriptions are served on the socket');
    }
    entry.type = 'subscription';
    entry.fields = operation.selectionSet.selections.map((s) => s.name.value);
    const source = await subscribe({ schema, document,
      operationName: payload.operationName, rootValue: railway.streams(),
      variableValues: payload.variables ?? {} });
    if (!source[Symbol.asyncIterator]) {
      entry.outcome = source.errors[0].message;
      return send({ id, type: 'error', payload: source.errors });
    }
    entry.outcome = 'ok';
    running.set(id, source);
    for await (const result of source) {
      if (railway.socket !== 'mute') send({ id, type: 'next', payload: result });
    }
    if (running.delete(id)) send({ id, type: 'complete' });
    return undefined;
  }
}
