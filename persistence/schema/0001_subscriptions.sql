-- One subscription is one row that knows where it stands; everything else hangs
-- on it. Numbers of states are those of actors/lifecycle/machine.hpp.

CREATE TABLE servers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  -- Rows owned by a server are left alone until this has passed, or until the
  -- server's session (which holds an advisory lock on its id) is gone.
  lease_until timestamptz NOT NULL,
  -- Set once other servers have taken over everything that was under way.
  retired_at timestamptz
);

CREATE INDEX servers_in_use ON servers (lease_until) WHERE retired_at IS NULL;

CREATE TABLE users (
  id text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 255),
  email text NOT NULL DEFAULT '',
  locale text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);

CREATE TABLE subscriptions (
  id bigint PRIMARY KEY CHECK (id > 0),
  user_id text NOT NULL REFERENCES users (id),
  plan text NOT NULL,
  currency text NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  period_days integer NOT NULL CHECK (period_days > 0),
  status smallint NOT NULL CHECK (status BETWEEN 0 AND 5),
  start_at timestamptz,
  end_at timestamptz,

  -- The deployment.
  phase smallint NOT NULL CHECK (phase BETWEEN 0 AND 12),
  phase_at timestamptz NOT NULL,
  attempt integer NOT NULL DEFAULT 0,
  attempt_limit integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  progress smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
  intent_at timestamptz,
  queued_at timestamptz,
  started_at timestamptz,
  deadline_at timestamptz,
  retry_at timestamptz,
  completed_at timestamptz,
  workflow_id text NOT NULL DEFAULT '',
  deployment_id text NOT NULL DEFAULT '',
  error text NOT NULL DEFAULT '',
  ended_by smallint NOT NULL DEFAULT 0,

  -- Whose it is, and what is due.
  revision bigint NOT NULL CHECK (revision > 0),
  owner bigint REFERENCES servers (id),
  epoch integer NOT NULL DEFAULT 1,
  settled boolean NOT NULL,
  wake_at timestamptz,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,

  CONSTRAINT subscriptions_period CHECK ((start_at IS NULL) = (end_at IS NULL)),
  CONSTRAINT subscriptions_active_was_paid
    CHECK (status <> 1 OR start_at IS NOT NULL)
) WITH (fillfactor = 70);

CREATE INDEX subscriptions_by_user ON subscriptions (user_id, id DESC);
CREATE INDEX subscriptions_unsettled ON subscriptions (id) WHERE NOT settled;
CREATE INDEX subscriptions_waking ON subscriptions (wake_at)
  WHERE wake_at IS NOT NULL;
CREATE INDEX subscriptions_queue ON subscriptions (queued_at, id)
  WHERE phase = 2;
CREATE INDEX subscriptions_at_work ON subscriptions (id)
  WHERE phase IN (3, 4, 5, 6, 7, 10);
CREATE INDEX subscriptions_failed ON subscriptions (id) WHERE phase = 9;

-- Encrypted with the key of that id; the associated data is the subscription's
-- id and the channel type, so that a row cannot be moved to another owner.
CREATE TABLE channel_credentials (
  subscription_id bigint NOT NULL REFERENCES subscriptions (id),
  channel_type text NOT NULL,
  key_id text NOT NULL,
  nonce bytea NOT NULL,
  ciphertext bytea NOT NULL,
  PRIMARY KEY (subscription_id, channel_type)
);

CREATE TABLE payments (
  subscription_id bigint NOT NULL REFERENCES subscriptions (id),
  seq integer NOT NULL CHECK (seq > 0),
  gateway smallint NOT NULL,
  method smallint NOT NULL,
  status smallint NOT NULL CHECK (status BETWEEN 0 AND 4),
  applied boolean NOT NULL DEFAULT false,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  refunded_minor bigint NOT NULL DEFAULT 0
    CHECK (refunded_minor BETWEEN 0 AND amount_minor),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  paid_at timestamptz,
  transaction_id text,
  idempotency_key text,
  PRIMARY KEY (subscription_id, seq),
  CONSTRAINT payments_paid_has_proof
    CHECK (status IN (0, 2) OR (paid_at IS NOT NULL AND transaction_id IS NOT NULL)),
  CONSTRAINT payments_applied_is_paid CHECK (NOT applied OR status >= 1 AND status <> 2)
);

-- One payment of the gateway counts once, whatever order it names.
CREATE UNIQUE INDEX payments_one_per_transaction
  ON payments (gateway, transaction_id) WHERE transaction_id IS NOT NULL;
CREATE UNIQUE INDEX payments_one_per_key
  ON payments (idempotency_key, subscription_id) WHERE idempotency_key IS NOT NULL;
CREATE INDEX payments_surplus ON payments (subscription_id, seq)
  WHERE status = 1 AND NOT applied;

CREATE TABLE instances (
  subscription_id bigint NOT NULL REFERENCES subscriptions (id),
  seq integer NOT NULL CHECK (seq > 0),
  status smallint NOT NULL CHECK (status BETWEEN 0 AND 4),
  project_id text NOT NULL DEFAULT '',
  environment_id text NOT NULL DEFAULT '',
  service_id text NOT NULL DEFAULT '',
  service_name text NOT NULL DEFAULT '',
  public_url text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  deleted_at timestamptz,
  PRIMARY KEY (subscription_id, seq),
  CONSTRAINT instances_deleted CHECK ((status = 4) = (deleted_at IS NOT NULL))
);

CREATE UNIQUE INDEX instances_one_live
  ON instances (subscription_id) WHERE deleted_at IS NULL;

-- Every authentic message of a gateway, raw; deliveries of one event share a row.
CREATE TABLE callbacks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  gateway smallint NOT NULL,
  dedupe_key text NOT NULL,
  received_at timestamptz NOT NULL,
  last_received_at timestamptz NOT NULL,
  repeats integer NOT NULL DEFAULT 0,
  order_id text NOT NULL,
  subscription_id bigint,
  outcome smallint NOT NULL,
  reason text NOT NULL DEFAULT '',
  headers text NOT NULL,
  body bytea NOT NULL,
  CONSTRAINT callbacks_one_per_event UNIQUE (gateway, dedupe_key)
);

CREATE INDEX callbacks_by_subscription ON callbacks (subscription_id, id);
CREATE INDEX callbacks_contradicting ON callbacks (id) WHERE outcome = 3;

-- The history: one row per transition and per call to the provider.
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subscription_id bigint NOT NULL,
  revision bigint NOT NULL,
  at timestamptz NOT NULL,
  kind smallint NOT NULL,
  operation text NOT NULL,
  outcome text NOT NULL,
  summary text NOT NULL
);

CREATE INDEX events_by_subscription ON events (subscription_id, id);

-- In-app notifications. Words are put to them where they are shown.
CREATE TABLE notifications (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id text NOT NULL,
  subscription_id bigint NOT NULL,
  revision bigint NOT NULL,
  kind smallint NOT NULL,
  instance_seq integer NOT NULL,
  public_url text NOT NULL,
  error text NOT NULL,
  duration_ms bigint,
  amount_minor bigint NOT NULL,
  created_at timestamptz NOT NULL,
  read_at timestamptz,
  CONSTRAINT notifications_once UNIQUE (subscription_id, revision, kind)
);

CREATE INDEX notifications_by_user ON notifications (user_id, id DESC);

-- Mails owed and sent: status 0 owed, 1 sent, 2 undeliverable, 3 no address.
CREATE TABLE outbox (
  subscription_id bigint NOT NULL REFERENCES subscriptions (id),
  revision bigint NOT NULL,
  kind smallint NOT NULL,
  user_id text NOT NULL,
  instance_seq integer NOT NULL,
  public_url text NOT NULL,
  error text NOT NULL,
  duration_ms bigint,
  amount_minor bigint NOT NULL,
  created_at timestamptz NOT NULL,
  status smallint NOT NULL DEFAULT 0 CHECK (status BETWEEN 0 AND 3),
  tries integer NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL,
  done_at timestamptz,
  detail text NOT NULL DEFAULT '',
  PRIMARY KEY (subscription_id, revision, kind)
);

CREATE INDEX outbox_owed ON outbox (next_at) WHERE status = 0;
CREATE INDEX outbox_undeliverable ON outbox (subscription_id) WHERE status = 2;
