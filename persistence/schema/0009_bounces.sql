-- Mails that come back, and what people want to be told of by mail.

-- Addresses that nothing is sent to any more. Whoever has another address gets
-- mail again.
CREATE TABLE bounces (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  address text NOT NULL UNIQUE CHECK (address <> '' AND address = lower(address)),
  reason text NOT NULL,
  since timestamptz NOT NULL,
  reported_by text NOT NULL,
  -- Whose mail came back; 0 where nobody knows.
  subscription_id bigint NOT NULL DEFAULT 0
);

-- Mails about how a deployment is doing, and not those about money and failures.
ALTER TABLE users ADD COLUMN mail_progress boolean NOT NULL DEFAULT true;

-- Where it was sent to: the address may be another one by the time it comes back.
ALTER TABLE outbox ADD COLUMN sent_to text NOT NULL DEFAULT '';

-- Status 4: not wanted. This looks at every row once: a second for millions.
ALTER TABLE outbox DROP CONSTRAINT outbox_status_check,
  ADD CONSTRAINT outbox_status_check CHECK (status BETWEEN 0 AND 4);

-- A report may spell an address in its own way, and so may an operator.
DROP INDEX users_by_email;
CREATE INDEX users_by_email ON users (lower(email)) WHERE email <> '';
