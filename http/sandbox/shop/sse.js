// Server-sent events out of pieces of text, as the HTML standard reads them.

/**
 * @param take called with {id, event, data}; `id` is the last one seen
 * @param options.onRetry called with the pause in ms that the server asks for
 * @param options.onBytes called for everything that arrives, heartbeats too
 * @returns a function that takes the next piece of text
 */
export function eventParser(take, { onRetry = () => {}, onBytes = () => {} } = {}) {
  let rest = '';
  let id = '';
  let event = '';
  let data = [];
  const line = (text) => {
    if (text === '') {
      if (data.length > 0) take({ id, event: event || 'message', data: data.join('\n') });
      event = '';
      data = [];
      return;
    }
    const colon = text.indexOf(':');
    if (colon === 0) return; // A comment: somebody is there.
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? '' : text.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') data.push(value);
    else if (name === 'event') event = value;
    else if (name === 'id' && !value.includes('\0')) id = value;
    else if (name === 'retry' && /^\d+$/.test(value)) onRetry(Number(value));
  };
  return (piece) => {
    onBytes();
    rest += piece;
    // A CR at the end may be the first half of a CRLF.
    const ends = /\r\n|\n|\r(?!$)/g;
    let from = 0;
    for (let end = ends.exec(rest); end; end = ends.exec(rest)) {
      line(rest.slice(from, end.index));
      from = ends.lastIndex;
    }
    rest = rest.slice(from);
  };
}
