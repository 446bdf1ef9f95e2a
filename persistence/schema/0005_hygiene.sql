-- The main switch, what leaves for being old, and more of what is impossible.

-- One row. Every write by Slipway stores the identity of the database and its
-- own transaction: a row that was loaded from a dump, or that lies in another
-- cluster, database or timeline than it remembers, is a restored one, and
-- nothing leaves until an operator says so.
CREATE TABLE automation (
  the_only boolean PRIMARY KEY DEFAULT true CHECK (the_only),
  enabled boolean NOT NULL,
  reason text NOT NULL DEFAULT '',
  changed_by text NOT NULL DEFAULT '',
  since timestamptz NOT NULL,
  restored_at timestamptz,
  -- Grows with every change: milliseconds, so that it is also greater than
  -- what a server remembers from before a restore.
  change bigint NOT NULL,
  system_identifier bigint,
  database_oid bigint,
  timeline integer,
  -- Null before the first start.
  written_in xid
);
INSERT INTO automation (enabled, since, change) VALUES (true, now(), 1);

CREATE TABLE automation_changes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL,
  enabled boolean NOT NULL,
  changed_by text NOT NULL,
  reason text NOT NULL
);

-- Old rows are found by walking the primary keys, which are in the order of
-- time: no index of the busy tables is for them alone.
CREATE INDEX outbox_done ON outbox (done_at) WHERE status <> 0;
CREATE INDEX orphans_gone ON orphans (gone_at) WHERE gone_at IS NOT NULL;
CREATE INDEX servers_retired ON servers (retired_at)
  WHERE retired_at IS NOT NULL;
-- A server's row leaves when nothing names it any more.
CREATE INDEX subscriptions_by_owner ON subscriptions (owner);

-- One payment buys one period, and one period is bought by one payment: the
-- moment at which the period begins that this payment has bought.
ALTER TABLE payments ADD COLUMN period_at timestamptz;
-- Of earlier periods nothing is known but that they are over.
UPDATE payments p SET period_at = s.start_at
FROM subscriptions s
WHERE s.id = p.subscription_id AND p.applied AND s.start_at IS NOT NULL
  AND p.seq = (SELECT max(seq) FROM payments q
               WHERE q.subscription_id = p.subscription_id AND q.applied);
CREATE UNIQUE INDEX payments_one_per_period
  ON payments (subscription_id, period_at) WHERE period_at IS NOT NULL;
-- A new order closes the others first.
CREATE UNIQUE INDEX payments_one_open ON payments (subscription_id)
  WHERE status = 0;

-- What follows holds for every new row from now on, and for those that are there
-- once the next migration has looked at them without locking anybody out.

ALTER TABLE subscriptions
  ADD CONSTRAINT subscriptions_period_has_length
    CHECK (end_at > start_at) NOT VALID,
  -- Active, expired and refunded: somebody has paid.
  ADD CONSTRAINT subscriptions_bought_has_period
    CHECK (status NOT IN (1, 2, 5) OR start_at IS NOT NULL) NOT VALID,
  -- Nothing is deployed before it is paid for.
  ADD CONSTRAINT subscriptions_unpaid_is_idle
    CHECK (status <> 0 OR phase = 0) NOT VALID,
  ADD CONSTRAINT subscriptions_settled_is_a_phase
    CHECK (settled = (phase IN (0, 1, 8, 9, 11, 13))) NOT VALID,
  -- Creating a project, deploying and what lies between.
  ADD CONSTRAINT subscriptions_attempt_has_deadline
    CHECK (phase NOT IN (3, 4, 5, 6, 7, 15)
           OR (deadline_at IS NOT NULL AND started_at IS NOT NULL)) NOT VALID,
  ADD CONSTRAINT subscriptions_attempt_within_limit
    CHECK (phase NOT IN (2, 3, 4, 5, 6, 7, 12, 15)
           OR attempt BETWEEN 1 AND attempt_limit) NOT VALID,
  ADD CONSTRAINT subscriptions_backoff_ends
    CHECK (phase <> 12 OR retry_at IS NOT NULL) NOT VALID,
  ADD CONSTRAINT subscriptions_end_has_moment
    CHECK (phase NOT IN (8, 9, 11, 13) OR completed_at IS NOT NULL) NOT VALID,
  ADD CONSTRAINT subscriptions_running_is_complete
    CHECK (phase <> 8 OR progress = 100) NOT VALID,
  ADD CONSTRAINT subscriptions_counts_check
    CHECK (attempt >= 0 AND attempt_limit >= 0 AND tries >= 0 AND epoch >= 0)
    NOT VALID;

ALTER TABLE instances
  -- What is being built or runs lies somewhere, and can be taken away there.
  ADD CONSTRAINT instances_running_has_project
    CHECK (status NOT IN (1, 2)
           OR (project_id <> '' AND environment_id <> '')) NOT VALID;

ALTER TABLE payments
  -- 0 Alipay: page, wap, qr. 1 WeChat Pay: native, h5, jsapi.
  ADD CONSTRAINT payments_method_of_gateway
    CHECK ((gateway = 0 AND method BETWEEN 0 AND 2)
           OR (gateway = 1 AND method BETWEEN 3 AND 5)) NOT VALID,
  ADD CONSTRAINT payments_refunded_in_full
    CHECK ((status = 4) = (refunded_minor = amount_minor)) NOT VALID,
  ADD CONSTRAINT payments_unpaid_gives_nothing_back
    CHECK (status NOT IN (0, 2, 5)
           OR (refunded_minor = 0 AND refund_seq = 0 AND paid_at IS NULL
               AND transaction_id IS NULL)) NOT VALID,
  ADD CONSTRAINT payments_failed_refund_is_paid
    CHECK (refund_error = '' OR status = 1) NOT VALID,
  ADD CONSTRAINT payments_period_was_bought
    CHECK (period_at IS NULL OR applied) NOT VALID;

ALTER TABLE callbacks
  ADD CONSTRAINT callbacks_numbers_check
    CHECK (gateway BETWEEN 0 AND 1 AND outcome BETWEEN 0 AND 4
           AND source BETWEEN 0 AND 2 AND repeats >= 0) NOT VALID;

ALTER TABLE outbox
  ADD CONSTRAINT outbox_done_has_moment
    CHECK ((status = 0) = (done_at IS NULL)) NOT VALID;

ALTER TABLE orphans
  ADD CONSTRAINT orphans_removed_is_gone
    CHECK (NOT removed_by_us OR gone_at IS NOT NULL) NOT VALID;

-- Some things never change back, whatever is stored next. The function is only
-- called when one of them is about to.
CREATE FUNCTION slipway_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% of % must not change back', TG_NAME, TG_TABLE_NAME
    USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END
$$;

-- Money that came has come, and what it bought was bought once.
CREATE TRIGGER payments_stay_paid BEFORE UPDATE ON payments FOR EACH ROW
  WHEN ((OLD.transaction_id IS NOT NULL
         AND NEW.transaction_id IS DISTINCT FROM OLD.transaction_id)
        OR (OLD.status IN (1, 3, 4) AND NEW.status NOT IN (1, 3, 4))
        OR OLD.applied <> NEW.applied
           AND (OLD.applied OR OLD.status NOT IN (0, 2, 5))
        OR (OLD.period_at IS NOT NULL
            AND NEW.period_at IS DISTINCT FROM OLD.period_at)
        OR NEW.refunded_minor < OLD.refunded_minor
        OR NEW.amount_minor <> OLD.amount_minor)
  EXECUTE FUNCTION slipway_refuse();

-- Neither a version nor the fence against former owners goes back.
CREATE TRIGGER subscriptions_go_forward BEFORE UPDATE ON subscriptions
  FOR EACH ROW
  WHEN (NEW.revision < OLD.revision OR NEW.epoch < OLD.epoch
        OR NEW.user_id <> OLD.user_id)
  EXECUTE FUNCTION slipway_refuse();
