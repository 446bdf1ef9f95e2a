-- Gateways are asked about orders, money goes back by our own request, and a
-- person can be done with a callback that contradicts.

-- Status 5: closed here for a newer order, and the gateway is to be told. As
-- unpaid as 0 and 2.
ALTER TABLE payments DROP CONSTRAINT payments_status_check,
  DROP CONSTRAINT payments_paid_has_proof,
  DROP CONSTRAINT payments_applied_is_paid;

ALTER TABLE payments
  -- What the gateway gave for paying.
  ADD COLUMN pay_code text NOT NULL DEFAULT '',
  -- Our refund: its number, how much, why, and why the last one failed.
  ADD COLUMN refund_seq integer NOT NULL DEFAULT 0,
  ADD COLUMN refund_minor bigint NOT NULL DEFAULT 0,
  ADD COLUMN refund_for smallint NOT NULL DEFAULT 0,
  ADD COLUMN refund_error text NOT NULL DEFAULT '',
  -- The gateway's refunds that are part of refunded_minor.
  ADD COLUMN refunds_counted text NOT NULL DEFAULT '',
  -- When the gateway is to be asked; how often it was in the present status,
  -- and when for the last time.
  ADD COLUMN ask_at timestamptz,
  ADD COLUMN asks integer NOT NULL DEFAULT 0,
  ADD COLUMN asked_at timestamptz,
  ADD CONSTRAINT payments_status_check CHECK (status BETWEEN 0 AND 5),
  ADD CONSTRAINT payments_paid_has_proof
    CHECK (status IN (0, 2, 5)
           OR (paid_at IS NOT NULL AND transaction_id IS NOT NULL)),
  ADD CONSTRAINT payments_applied_is_paid
    CHECK (NOT applied OR status IN (1, 3, 4)),
  ADD CONSTRAINT payments_refund_fits
    CHECK (refund_seq >= 0 AND refund_minor BETWEEN 0 AND amount_minor
           AND refund_for BETWEEN 0 AND 4),
  ADD CONSTRAINT payments_refunding_was_asked_for
    CHECK (status <> 3 OR (refund_seq > 0 AND refund_minor > 0)),
  ADD CONSTRAINT payments_asks_check CHECK (asks >= 0);

-- Nobody has asked about any order so far. What can still be paid is due now.
UPDATE payments SET ask_at = now() WHERE status = 0;

-- What was closed is looked at once, the newest first and one a second, so that
-- a long past does not stand in the way of today's orders.
UPDATE payments p
SET asks = 1,
    ask_at = greatest(now() + n.place * interval '1 s',
                      p.expires_at + interval '10 min')
FROM (SELECT subscription_id, seq,
             row_number() OVER (ORDER BY expires_at DESC, subscription_id, seq)
               AS place
      FROM payments WHERE status = 2) n
WHERE p.subscription_id = n.subscription_id AND p.seq = n.seq;

CREATE INDEX payments_to_ask ON payments (gateway, ask_at)
  WHERE ask_at IS NOT NULL;
CREATE INDEX payments_unsettled ON payments (expires_at)
  WHERE status IN (0, 5);
CREATE INDEX payments_refunding ON payments (subscription_id, seq)
  WHERE status = 3;
CREATE INDEX payments_refund_failed ON payments (subscription_id, seq)
  WHERE status = 1 AND refund_error <> '';
DROP INDEX payments_surplus;
CREATE INDEX payments_surplus ON payments (subscription_id, seq)
  WHERE status IN (1, 3) AND NOT applied;

-- No subscription wakes for the end of an order any more.
UPDATE subscriptions s SET wake_at = n.wake_at
FROM (SELECT id, least(CASE WHEN status = 1 THEN end_at END,
                       CASE WHEN phase IN (3, 4, 5, 6, 7, 10)
                            THEN deadline_at END,
                       retry_at) AS wake_at
      FROM subscriptions WHERE wake_at IS NOT NULL) n
WHERE s.id = n.id AND s.wake_at IS DISTINCT FROM n.wake_at;

ALTER TABLE callbacks
  -- 0 notify, 1 refund_notify, 2 the answer to a question of ours.
  ADD COLUMN source smallint NOT NULL DEFAULT 0,
  ADD COLUMN settled_at timestamptz,
  ADD COLUMN settled_by text NOT NULL DEFAULT '',
  ADD COLUMN settled_why text NOT NULL DEFAULT '';

DROP INDEX callbacks_contradicting;
CREATE INDEX callbacks_contradicting ON callbacks (id)
  WHERE outcome = 3 AND settled_at IS NULL;
-- What was applied is the mass of them, and is listed by the primary key.
CREATE INDEX callbacks_by_outcome ON callbacks (outcome, id)
  WHERE outcome <> 0;
CREATE INDEX callbacks_by_order ON callbacks (order_id, id);
