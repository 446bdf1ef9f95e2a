-- The rows of a batch travel as arrays of these types: one array for a table
-- costs a fraction of one for each of its columns. A type is never changed,
-- because servers of two versions share a database while one takes over from the
-- other: what becomes another row gets another name.

CREATE TYPE journal_subscription AS (
  id bigint, expected bigint, epoch integer, status smallint,
  start_at timestamptz, end_at timestamptz, phase smallint,
  phase_at timestamptz, attempt integer, attempt_limit integer, tries integer,
  progress smallint, intent_at timestamptz, queued_at timestamptz,
  started_at timestamptz, deadline_at timestamptz, retry_at timestamptz,
  completed_at timestamptz, workflow_id text, deployment_id text, error text,
  ended_by smallint, settled boolean, wake_at timestamptz,
  updated_at timestamptz, queue_rank timestamptz
);

CREATE TYPE journal_line AS (
  id bigint, at timestamptz, kind smallint, operation text, outcome text,
  summary text
);

CREATE TYPE journal_order AS (
  subscription_id bigint, seq integer, gateway smallint, method smallint,
  status smallint, applied boolean, amount_minor bigint, refunded_minor bigint,
  created_at timestamptz, expires_at timestamptz, paid_at timestamptz,
  transaction_id text, idempotency_key text, pay_code text, refund_seq integer,
  refund_minor bigint, refund_for smallint, refund_error text,
  refunds_counted text, ask_at timestamptz
);

CREATE TYPE journal_instance AS (
  subscription_id bigint, seq integer, status smallint, project_id text,
  environment_id text, service_id text, service_name text, public_url text,
  created_at timestamptz, deleted_at timestamptz, health smallint,
  sleep_told boolean
);

CREATE TYPE journal_notice AS (
  subscription_id bigint, kind smallint, instance_seq integer, public_url text,
  error text, duration_ms bigint, amount_minor bigint, created_at timestamptz,
  by_mail boolean
);

CREATE TYPE journal_callback AS (
  gateway smallint, source smallint, dedupe_key text, received_at timestamptz,
  order_id text, subscription_id bigint, outcome smallint, reason text,
  headers text, body bytea, deliveries integer
);

CREATE TYPE journal_creation AS (
  id bigint, epoch integer, user_id text, plan text, currency text,
  amount_minor bigint, period_days integer, status smallint, phase smallint,
  phase_at timestamptz, revision bigint, settled boolean, wake_at timestamptz,
  created_at timestamptz
);

CREATE TYPE journal_credential AS (
  subscription_id bigint, channel_type text, key_id text, nonce bytea,
  ciphertext bytea
);
