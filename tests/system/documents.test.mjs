// Every GraphQL document that the server sends is valid against the real schema,
// without a deprecated field.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildSchema, NoDeprecatedCustomRule, parse, specifiedRules, validate } from 'graphql';

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
    }));
  });

test('there are documents to look at', () => {
  assert.ok(documents.length >= 10, `found ${documents.length}`);
});

for (const { file, document } of documents) {
  const title = /(query|mutation|subscription)\s+(\w+)/.exec(document)?.[2] ?? 'unnamed';
  test(`${file}: ${title} is valid against the schema`, () => {
    const problems = validate(schema, parse(document), [...specifiedRules, NoDeprecatedCustomRule]);
    assert.deepEqual(problems.map((problem) => problem.message), []);
  });
}
