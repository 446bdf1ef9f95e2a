// Every GraphQL document that the server sends is valid against the real schema,
// without a deprecated field: queries, mutations and subscriptions. What is put
// together at run time is checked by the imposter on its way, see
// `assertClean` in lib/matrix.mjs.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildSchema, NoDeprecatedCustomRule, NoUnusedFragmentsRule, parse, specifiedRules, validate, visit } from 'graphql';

const here = path.dirname(fileURLToPath(import.meta.url));
const schema = buildSchema(
  fs.readFileSync(path.join(here, 'data', 'railway-schema.graphql'), 'utf8'),
  { assumeValid: true },
);

const providers = path.join(here, '..', '..', 'http', 'provider');
const documents = fs
  .readdirSync(providers)
  .filter((name) => /\.[ch]pp$/.test(name))
  .flatMap((name) => {
    const text = fs.readFileSync(path.join(providers, name), 'utf8');
    return [...text.matchAll(/R"graphql\(([\s\S]*?)\)graphql"/g)].map((found) => ({
      file: name,
      document: found[1],
      parsed: parse(found[1]),
    }));
  });

const fragments = new Map(documents.flatMap(({ parsed }) => parsed.definitions)
  .filter((definition) => definition.kind === 'FragmentDefinition')
  .map((definition) => [definition.name.value, definition]));

/** The document with the fragments that it uses and others define. */
function whole(parsed) {
  const definitions = [...parsed.definitions];
  const has = new Set(definitions.map((definition) => definition.name?.value));
  for (let i = 0; i < definitions.length; i += 1) {
    visit(definitions[i], { FragmentSpread({ name }) {
      const found = fragments.get(name.value);
      if (!found || has.has(name.value)) return;
      has.add(name.value);
      definitions.push(found);
    } });
  }
  return { ...parsed, definitions };
}

const operations = documents.flatMap(({ parsed }) => parsed.definitions)
  .filter((definition) => definition.kind === 'OperationDefinition');

test('there are documents to look at', () => {
  assert.ok(documents.length >= 10, `found ${documents.length}`);
  for (const kind of ['query', 'mutation', 'subscription']) {
    assert.ok(operations.some((o) => o.operation === kind), `no ${kind}`);
  }
});

test('every operation has a name of its own, for logs and for Railway', () => {
  const names = operations.map((o) => o.name?.value);
  assert.ok(!names.includes(undefined), 'one has no name');
  assert.deepEqual(names.filter((name, i) => names.indexOf(name) !== i), []);
});

for (const { file, document, parsed } of documents) {
  const title = /(query|mutation|subscription|fragment)\s+(\w+)/.exec(document)?.[2] ?? 'unnamed';
  test(`${file}: ${title} is valid against the schema`, () => {
    // A fragment that stands alone is used elsewhere.
    const rules = parsed.definitions.every((d) => d.kind === 'FragmentDefinition')
      ? specifiedRules.filter((rule) => rule !== NoUnusedFragmentsRule)
      : specifiedRules;
    const problems = validate(schema, whole(parsed), [...rules, NoDeprecatedCustomRule]);
    assert.deepEqual(problems.map((problem) => problem.message), []);
  });
}
