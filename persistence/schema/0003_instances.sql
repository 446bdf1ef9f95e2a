-- Instances are looked at after they came to run, the queue knows priorities, and
-- what is found at the provider without belonging there is written down.

-- Phases 13 lapsed, 14 terminating, 15 halting. Of these only halting holds a slot.
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_phase_check;
ALTER TABLE subscriptions
  ADD CONSTRAINT subscriptions_phase_check CHECK (phase BETWEEN 0 AND 15),
  -- The smaller goes first: when it was paid for, and earlier than that by the
  -- head start of its plan.
  ADD COLUMN queue_rank timestamptz;

-- Those that wait for a slot, or may wait again. What is being cancelled has lost
-- its place: one there would mean that it was paid for meanwhile. Everybody else
-- earns another one.
UPDATE subscriptions SET queue_rank = queued_at
  WHERE phase IN (2, 3, 4, 5, 6, 7, 12);

ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_queued_has_rank
  CHECK (phase <> 2 OR (queue_rank IS NOT NULL AND queued_at IS NOT NULL));

DROP INDEX subscriptions_queue;
CREATE INDEX subscriptions_queue ON subscriptions (queue_rank, id)
  WHERE phase = 2;
DROP INDEX subscriptions_at_work;
CREATE INDEX subscriptions_at_work ON subscriptions (id)
  WHERE phase IN (3, 4, 5, 6, 7, 10, 15);
CREATE INDEX subscriptions_lapsed ON subscriptions (id) WHERE phase = 13;
CREATE INDEX subscriptions_terminating ON subscriptions (id) WHERE phase = 14;
CREATE INDEX subscriptions_watched ON subscriptions (id)
  WHERE phase IN (8, 13);
CREATE INDEX subscriptions_refunded_running ON subscriptions (id)
  WHERE phase IN (8, 13) AND status = 5;

ALTER TABLE instances
  -- What the provider shows since it came to run: actors/lifecycle/machine.hpp.
  ADD COLUMN health smallint NOT NULL DEFAULT 0 CHECK (health BETWEEN 0 AND 7),
  ADD COLUMN sleep_told boolean NOT NULL DEFAULT false;

-- A webhook names the project; no two live instances share one.
CREATE UNIQUE INDEX instances_by_project ON instances (project_id)
  WHERE project_id <> '' AND deleted_at IS NULL;

-- Projects with a name of ours that belong to no instance of ours: reported when
-- they are first seen, removed when they are provably ours.
CREATE TABLE orphans (
  project_id text PRIMARY KEY CHECK (project_id <> ''),
  name text NOT NULL,
  -- The one it is named after; 0 when we have none of that id.
  subscription_id bigint NOT NULL,
  reason text NOT NULL,
  seen_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  -- Gone: removed by us, by others, or come to belong to an instance.
  gone_at timestamptz,
  removed_by_us boolean NOT NULL DEFAULT false
);

CREATE INDEX orphans_there ON orphans (seen_at) WHERE gone_at IS NULL;

-- Operators search by mail address, and read one subscription's whole story.
CREATE INDEX users_by_email ON users (email) WHERE email <> '';
CREATE INDEX notifications_by_subscription
  ON notifications (subscription_id, id);
