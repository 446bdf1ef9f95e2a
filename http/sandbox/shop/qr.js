// QR codes (ISO/IEC 18004): bytes, error correction level M, versions 1 to 40.

import { svg } from './dom.js';

// By version, level M: correction bytes of a block, and how many blocks.
const CORRECTION = [0, 10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24,
  28, 28, 26, 26, 26, 26, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  28, 28, 28, 28, 28];
const BLOCKS = [0, 1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16,
  17, 17, 18, 20, 21, 23, 25, 26, 28, 29, 31, 33, 35, 37, 38, 40, 43, 45, 47, 49];

const MASKS = [
  (x, y) => (x + y) % 2, (x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

/** Multiplies in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1. */
function times(a, b) {
  let out = 0;
  for (let i = 7; i >= 0; i -= 1) {
    out = (out << 1) ^ ((out >>> 7) * 0x11d);
    out ^= ((b >>> i) & 1) * a;
  }
  return out;
}

/** The correction bytes of a block, by Reed and Solomon. */
function correction(data, length) {
  const divisor = new Array(length).fill(0);
  divisor[length - 1] = 1;
  let root = 1;
  for (let i = 0; i < length; i += 1) {
    for (let j = 0; j < length; j += 1) {
      divisor[j] = times(divisor[j], root) ^ (divisor[j + 1] ?? 0);
    }
    root = times(root, 2);
  }
  const out = new Array(length).fill(0);
  for (const byte of data) {
    const factor = byte ^ out.shift();
    out.push(0);
    divisor.forEach((x, i) => { out[i] ^= times(x, factor); });
  }
  return out;
}

/** Modules that carry data and correction. */
function room(version) {
  let out = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const marks = Math.floor(version / 7) + 2;
    out -= (25 * marks - 10) * marks - 55;
    if (version >= 7) out -= 36;
  }
  return out;
}

const dataBytes = (version) => Math.floor(room(version) / 8)
  - CORRECTION[version] * BLOCKS[version];

function codewords(bytes, version) {
  const bits = [];
  const put = (value, count) => {
    for (let i = count - 1; i >= 0; i -= 1) bits.push((value >>> i) & 1);
  };
  const capacity = dataBytes(version) * 8;
  put(4, 4);
  put(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) put(byte, 8);
  put(0, Math.min(4, capacity - bits.length));
  put(0, (8 - (bits.length % 8)) % 8);
  for (let pad = 0xec; bits.length < capacity; pad ^= 0xec ^ 0x11) put(pad, 8);
  const data = [];
  for (let i = 0; i < bits.length; i += 8) {
    data.push(bits.slice(i, i + 8).reduce((byte, bit) => (byte << 1) | bit, 0));
  }
  // Blocks of two lengths, the short ones first, their bytes in turn.
  const count = BLOCKS[version];
  const all = Math.floor(room(version) / 8);
  const short = count - (all % count);
  const length = Math.floor(all / count) - CORRECTION[version];
  const blocks = [];
  for (let i = 0, at = 0; i < count; i += 1) {
    const part = data.slice(at, at + length + (i < short ? 0 : 1));
    at += part.length;
    blocks.push({ part, end: correction(part, CORRECTION[version]) });
  }
  const out = [];
  for (let i = 0; i <= length; i += 1) {
    for (const { part } of blocks) if (i < part.length) out.push(part[i]);
  }
  for (let i = 0; i < CORRECTION[version]; i += 1) {
    for (const { end } of blocks) out.push(end[i]);
  }
  return out;
}

/** Where the small squares stand, in both directions. */
function marksOf(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = version === 32 ? 26
    : Math.ceil((version * 4 + 4) / (count * 2 - 2)) * 2;
  const out = [6];
  for (let at = version * 4 + 10; out.length < count; at -= step) out.splice(1, 0, at);
  return out;
}

/** How hard a pattern is to read. */
function penalty(rows) {
  const size = rows.length;
  let out = 0;
  let dark = 0;
  const lines = [...rows, ...rows.map((_, x) => rows.map((row) => row[x]))];
  for (const line of lines) {
    const text = line.map(Number).join('');
    for (const run of text.match(/0{5,}|1{5,}/g) ?? []) out += run.length - 2;
    for (const find of [/(?=00001011101)/g, /(?=10111010000)/g]) {
      out += 40 * (text.match(find)?.length ?? 0);
    }
  }
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      dark += Number(rows[y][x]);
      if (y > 0 && x > 0 && rows[y][x] === rows[y][x - 1]
        && rows[y][x] === rows[y - 1][x] && rows[y][x] === rows[y - 1][x - 1]) out += 3;
    }
  }
  return out + 10 * Math.floor(Math.abs(dark * 20 - size * size * 10) / (size * size));
}

/**
 * @returns the code as rows of booleans, true for dark; throws RangeError when the
 *          text has more than 2331 bytes in UTF-8
 */
export function encode(text) {
  const bytes = new TextEncoder().encode(text);
  let version = 1;
  const needed = () => bytes.length + (version < 10 ? 2 : 3);
  while (version <= 40 && dataBytes(version) < needed()) version += 1;
  if (version > 40) throw new RangeError('too long for a QR code');
  const size = version * 4 + 17;
  const rows = Array.from({ length: size }, () => new Array(size).fill(false));
  const fixed = Array.from({ length: size }, () => new Array(size).fill(false));
  const set = (x, y, dark) => {
    if (x < 0 || y < 0 || x >= size || y >= size) return;
    rows[y][x] = Boolean(dark);
    fixed[y][x] = true;
  };

  for (let i = 0; i < size; i += 1) {
    set(6, i, i % 2 === 0);
    set(i, 6, i % 2 === 0);
  }
  for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
    for (let dy = -4; dy <= 4; dy += 1) {
      for (let dx = -4; dx <= 4; dx += 1) {
        const far = Math.max(Math.abs(dx), Math.abs(dy));
        set(cx + dx, cy + dy, far !== 2 && far !== 4);
      }
    }
  }
  const marks = marksOf(version);
  const last = marks.length - 1;
  marks.forEach((cx, i) => marks.forEach((cy, j) => {
    if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) return;
    for (let dy = -2; dy <= 2; dy += 1) {
      for (let dx = -2; dx <= 2; dx += 1) {
        set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
      }
    }
  }));
  const format = (mask) => {
    // Level M is 0 in the format's first two bits.
    let rest = mask;
    for (let i = 0; i < 10; i += 1) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
    const bits = ((mask << 10) | rest) ^ 0x5412;
    const bit = (i) => (bits >>> i) & 1;
    for (let i = 0; i <= 5; i += 1) set(8, i, bit(i));
    set(8, 7, bit(6));
    set(8, 8, bit(7));
    set(7, 8, bit(8));
    for (let i = 9; i < 15; i += 1) set(14 - i, 8, bit(i));
    for (let i = 0; i < 8; i += 1) set(size - 1 - i, 8, bit(i));
    for (let i = 8; i < 15; i += 1) set(8, size - 15 + i, bit(i));
    set(8, size - 8, true);
  };
  format(0);
  if (version >= 7) {
    let rest = version;
    for (let i = 0; i < 12; i += 1) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25);
    const bits = (version << 12) | rest;
    for (let i = 0; i < 18; i += 1) {
      const a = size - 11 + (i % 3);
      const b = Math.floor(i / 3);
      set(a, b, (bits >>> i) & 1);
      set(b, a, (bits >>> i) & 1);
    }
  }

  const words = codewords(bytes, version);
  let at = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      for (let side = 0; side < 2; side += 1) {
        const x = right - side;
        const y = ((right + 1) & 2) === 0 ? size - 1 - step : step;
        if (!fixed[y][x] && at < words.length * 8) {
          rows[y][x] = ((words[at >>> 3] >>> (7 - (at & 7))) & 1) === 1;
          at += 1;
        }
      }
    }
  }
  const flip = (mask) => {
    rows.forEach((row, y) => row.forEach((dark, x) => {
      if (!fixed[y][x] && MASKS[mask](x, y) === 0) row[x] = !dark;
    }));
  };
  let best = 0;
  let least = Infinity;
  for (let mask = 0; mask < MASKS.length; mask += 1) {
    flip(mask);
    format(mask);
    const cost = penalty(rows);
    if (cost < least) [best, least] = [mask, cost];
    flip(mask);
  }
  flip(best);
  format(best);
  return rows;
}

/** The code as a picture, dark on light whatever the page's colours. */
export function picture(text, label) {
  const rows = encode(text);
  const size = rows.length + 8;
  let path = '';
  rows.forEach((row, y) => row.forEach((dark, x) => {
    if (dark) path += `M${x + 4} ${y + 4}h1v1h-1z`;
  }));
  return svg('svg', { class: 'qr', viewBox: `0 0 ${size} ${size}`, role: 'img',
    'aria-label': label, 'shape-rendering': 'crispEdges' },
  svg('rect', { width: size, height: size, fill: '#fff' }),
  svg('path', { d: path, fill: '#000' }));
}
