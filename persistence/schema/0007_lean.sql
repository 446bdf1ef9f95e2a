-- What is written with every step of a subscription, kept small.

-- Where a deployment stands as far as lists of them are concerned: 1 in the queue,
-- 2 at work in a slot, 3 running, 4 failed, 5 lapsed, 6 terminating, 0 anything
-- else. It stays the same from step to step of the work, and so do the indexes
-- over it: those steps update the row in its page and no index (HOT).
ALTER TABLE subscriptions ADD COLUMN stage smallint NOT NULL
  GENERATED ALWAYS AS (CASE phase
    WHEN 2 THEN 1
    WHEN 3 THEN 2 WHEN 4 THEN 2 WHEN 5 THEN 2 WHEN 6 THEN 2 WHEN 7 THEN 2
    WHEN 10 THEN 2 WHEN 15 THEN 2
    WHEN 8 THEN 3
    WHEN 9 THEN 4
    WHEN 13 THEN 5
    WHEN 14 THEN 6
    ELSE 0 END) STORED;

DROP INDEX subscriptions_queue, subscriptions_at_work, subscriptions_failed,
  subscriptions_lapsed, subscriptions_terminating, subscriptions_watched,
  subscriptions_refunded_running;
CREATE INDEX subscriptions_queue ON subscriptions (queue_rank, id)
  WHERE stage = 1;
CREATE INDEX subscriptions_at_work ON subscriptions (id) WHERE stage = 2;
CREATE INDEX subscriptions_failed ON subscriptions (id) WHERE stage = 4;
CREATE INDEX subscriptions_lapsed ON subscriptions (id) WHERE stage = 5;
CREATE INDEX subscriptions_terminating ON subscriptions (id) WHERE stage = 6;
CREATE INDEX subscriptions_watched ON subscriptions (id)
  WHERE stage IN (3, 5);
CREATE INDEX subscriptions_refunded_running ON subscriptions (id)
  WHERE stage IN (3, 5) AND status = 5;

-- A row whose owner is not in servers is nobody's: old servers leave without
-- asking every row, and a claim writes no index.
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_owner_fkey;
DROP INDEX subscriptions_by_owner;

-- Served by notifications_once as well.
DROP INDEX notifications_by_subscription;
