// Prometheus' text format, as much as the tests need.

/** {families: Map name → type, samples: [{name, labels, value}]} */
export function parseMetrics(text) {
  const families = new Map();
  const samples = [];
  for (const line of text.split('\n')) {
    const type = /^# TYPE (\S+) (\S+)/.exec(line);
    if (type) {
      families.set(type[1], type[2]);
      continue;
    }
    if (!line || line.startsWith('#')) continue;
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?$/
      .exec(line);
    if (!sample) throw new Error(`not Prometheus text: ${line}`);
    const labels = {};
    for (const [, key, value] of
      (sample[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[key] = value.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
    }
    samples.push({ name: sample[1], labels, value: Number(sample[3]) });
  }
  return {
    families,
    samples,
    /** Sum over all samples of that name whose labels match. */
    sum: (name, match = {}) => samples
      .filter((s) => s.name === name
        && Object.entries(match).every(([k, v]) => s.labels[k] === v))
      .reduce((total, s) => total + s.value, 0),
    labelsOf: (name) => new Set(samples.filter((s) => s.name === name)
      .flatMap((s) => Object.keys(s.labels))),
  };
}
