// A writer for the configuration, nothing more.

const scalar = (value) => {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number' || typeof value === 'boolean') {
    return String(value);
  }
  if (Array.isArray(value)) return `[${value.map(scalar).join(', ')}]`;
  if (value && typeof value === 'object') {
    return `{ ${Object.entries(value)
      .map(([k, v]) => `${k} = ${scalar(v)}`).join(', ')} }`;
  }
  throw new Error(`no TOML for ${value}`);
};

/**
 * {section: {key: value}}; `plans` is {PRO: {…}} and becomes [plans.PRO].
 * Undefined sections and keys are left out.
 */
export function toToml(settings) {
  const lines = [];
  const table = (name, values) => {
    lines.push(`[${name}]`);
    for (const [key, value] of Object.entries(values)) {
      if (value !== undefined) lines.push(`${key} = ${scalar(value)}`);
    }
    lines.push('');
  };
  for (const [name, values] of Object.entries(settings)) {
    if (!values) continue;
    if (name === 'plans') {
      for (const [plan, of] of Object.entries(values)) {
        table(`plans.${plan}`, of);
      }
    } else {
      table(name, values);
    }
  }
  return lines.join('\n');
}
