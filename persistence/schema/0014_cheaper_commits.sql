-- What every commit pays for. PostgreSQL reads the constraints, the generated
-- columns and the conditions of triggers of a table from their text anew for each
-- statement that writes to it, opens all indexes of the table, and looks at the
-- condition of each. For a batch of 28 payments that was a quarter of the work.
-- The table of subscriptions is written anew under a lock, and so are its indexes.

LOCK TABLE subscriptions, payments, callbacks, notifications
  IN ACCESS EXCLUSIVE MODE;

-- Where a deployment stands, one byte for each phase: 1 in the queue, 2 at work in
-- a slot, 3 running, 4 failed, 5 lapsed, 6 terminating, 0 anything else. A phase
-- that is none is out of the range of get_byte. Takes along all indexes over it.
ALTER TABLE subscriptions DROP COLUMN stage;
ALTER TABLE subscriptions ADD COLUMN stage smallint NOT NULL
  GENERATED ALWAYS AS
    (get_byte('\x00000102020202020304020000050602'::bytea, phase)) STORED;
CREATE INDEX subscriptions_queue ON subscriptions (queue_rank, id)
  WHERE stage = 1;
CREATE INDEX subscriptions_watched ON subscriptions (id)
  WHERE stage IN (3, 5);
CREATE INDEX subscriptions_refunded_running ON subscriptions (id)
  WHERE stage IN (3, 5) AND status = 5;
-- One for all lists of those that do not simply run.
CREATE INDEX subscriptions_by_stage ON subscriptions (stage, id)
  WHERE stage IN (2, 4, 5, 6);

-- Notices lie with their subscription, where what has just been written lies, and
-- not with their user, each in a page of its own: a user's are found through
-- user_subscriptions. That none is told twice follows from the revision, which
-- only one transition can follow.
ALTER TABLE notifications DROP CONSTRAINT notifications_pkey,
  DROP CONSTRAINT notifications_once;
ALTER TABLE notifications ADD PRIMARY KEY (subscription_id, id);

-- A trigger that runs before an update has each row locked first, whether its
-- condition holds or not. The JOURNAL compares the revision by itself.
DROP TRIGGER subscriptions_go_forward ON subscriptions;
CREATE TRIGGER subscriptions_go_forward AFTER UPDATE OF epoch, user_id
  ON subscriptions FOR EACH ROW
  WHEN (NEW.epoch < OLD.epoch OR NEW.user_id <> OLD.user_id)
  EXECUTE FUNCTION slipway_refuse();
-- Who has paid has a transaction, and only who has paid has bought anything
-- (payments_paid_has_proof, payments_applied_is_paid).
DROP TRIGGER payments_stay_paid ON payments;
CREATE TRIGGER payments_stay_paid AFTER UPDATE ON payments FOR EACH ROW
  WHEN (OLD.transaction_id IS NOT NULL
        AND (OLD.transaction_id, OLD.applied, OLD.period_at)
            IS DISTINCT FROM (NEW.transaction_id, NEW.applied, NEW.period_at)
        OR NEW.refunded_minor < OLD.refunded_minor
        OR NEW.amount_minor <> OLD.amount_minor)
  EXECUTE FUNCTION slipway_refuse();

-- The same constraints in fewer words. They hold for every new row from now on,
-- and for those that are there once the next migration has looked at them.
ALTER TABLE subscriptions
  DROP CONSTRAINT subscriptions_id_check,
  DROP CONSTRAINT subscriptions_amount_minor_check,
  DROP CONSTRAINT subscriptions_period_days_check,
  DROP CONSTRAINT subscriptions_revision_check,
  ADD CONSTRAINT subscriptions_positive_check
    CHECK (least(id, amount_minor, period_days, revision) > 0) NOT VALID,
  DROP CONSTRAINT subscriptions_counts_check,
  ADD CONSTRAINT subscriptions_counts_check
    CHECK (least(attempt, attempt_limit, tries, epoch) >= 0) NOT VALID,
  DROP CONSTRAINT subscriptions_status_check,
  ADD CONSTRAINT subscriptions_status_check
    CHECK (status = ANY ('{0,1,2,3,4,5}'::smallint[])) NOT VALID,
  -- get_byte sees to it.
  DROP CONSTRAINT subscriptions_phase_check,
  -- Active, expired and refunded: somebody has paid.
  DROP CONSTRAINT subscriptions_active_was_paid,
  DROP CONSTRAINT subscriptions_bought_has_period,
  ADD CONSTRAINT subscriptions_bought_has_period
    CHECK (start_at IS NOT NULL OR status <> ALL ('{1,2,5}'::smallint[]))
    NOT VALID,
  DROP CONSTRAINT subscriptions_settled_is_a_phase,
  ADD CONSTRAINT subscriptions_settled_is_a_phase
    CHECK (settled = (phase = ANY ('{0,1,8,9,11,13}'::smallint[]))) NOT VALID,
  DROP CONSTRAINT subscriptions_attempt_has_deadline,
  ADD CONSTRAINT subscriptions_attempt_has_deadline
    CHECK (deadline_at IS NOT NULL AND started_at IS NOT NULL
           OR phase <> ALL ('{3,4,5,6,7,15}'::smallint[])) NOT VALID,
  DROP CONSTRAINT subscriptions_attempt_within_limit,
  ADD CONSTRAINT subscriptions_attempt_within_limit
    CHECK (attempt BETWEEN 1 AND attempt_limit
           OR phase <> ALL ('{2,3,4,5,6,7,12,15}'::smallint[])) NOT VALID,
  DROP CONSTRAINT subscriptions_end_has_moment,
  ADD CONSTRAINT subscriptions_end_has_moment
    CHECK (completed_at IS NOT NULL
           OR phase <> ALL ('{8,9,11,13}'::smallint[])) NOT VALID;

ALTER TABLE payments
  DROP CONSTRAINT payments_seq_check,
  DROP CONSTRAINT payments_asks_check,
  DROP CONSTRAINT payments_amount_minor_check,
  DROP CONSTRAINT payments_check,
  DROP CONSTRAINT payments_refund_fits,
  ADD CONSTRAINT payments_counts_check
    CHECK (seq > 0 AND least(asks, refund_seq) >= 0) NOT VALID,
  ADD CONSTRAINT payments_amounts_fit
    CHECK (least(refunded_minor, refund_minor) >= 0
           AND amount_minor >= greatest(refunded_minor, refund_minor,
                                        bigint '1')) NOT VALID,
  ADD CONSTRAINT payments_refund_for_check
    CHECK (refund_for = ANY ('{0,1,2,3,4}'::smallint[])) NOT VALID,
  DROP CONSTRAINT payments_status_check,
  ADD CONSTRAINT payments_status_check
    CHECK (status = ANY ('{0,1,2,3,4,5}'::smallint[])) NOT VALID,
  -- 0 Alipay: page, wap, qr. 1 WeChat Pay: native, h5, jsapi.
  DROP CONSTRAINT payments_method_of_gateway,
  ADD CONSTRAINT payments_method_of_gateway
    CHECK (method = ANY ('{0,1,2,3,4,5}'::smallint[])
           AND gateway = method / 3) NOT VALID,
  -- Paid, being refunded and refunded have both, all others neither.
  DROP CONSTRAINT payments_paid_has_proof,
  ADD CONSTRAINT payments_paid_has_proof
    CHECK ((status = ANY ('{1,3,4}'::smallint[]))
             = (transaction_id IS NOT NULL)
           AND (paid_at IS NULL) = (transaction_id IS NULL)) NOT VALID,
  DROP CONSTRAINT payments_unpaid_gives_nothing_back,
  ADD CONSTRAINT payments_unpaid_gives_nothing_back
    CHECK (transaction_id IS NOT NULL OR refunded_minor + refund_seq = 0)
    NOT VALID,
  DROP CONSTRAINT payments_applied_is_paid,
  ADD CONSTRAINT payments_applied_is_paid
    CHECK (transaction_id IS NOT NULL OR NOT applied) NOT VALID;

ALTER TABLE callbacks
  DROP CONSTRAINT callbacks_numbers_check,
  ADD CONSTRAINT callbacks_numbers_check
    CHECK (gateway = ANY ('{0,1}'::smallint[])
           AND outcome = ANY ('{0,1,2,3,4}'::smallint[])
           AND source = ANY ('{0,1,2}'::smallint[]) AND repeats >= 0) NOT VALID;

-- Called by the JOURNAL when a row that it was to change is not there.
CREATE FUNCTION slipway_missing(of_table text) RETURNS boolean
  LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a row of % that was to be changed is not there', of_table
    USING ERRCODE = 'no_data_found';
END
$$;
