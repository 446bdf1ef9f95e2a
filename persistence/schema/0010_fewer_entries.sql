-- Fewer index entries for what is written with every step. Makes two indexes
-- anew under a lock; how long that takes for millions of rows was not measured.

-- History is read, and leaves, by its subscription.
ALTER TABLE events DROP CONSTRAINT events_pkey;
DROP INDEX events_by_subscription;
ALTER TABLE events ADD PRIMARY KEY (subscription_id, id);

-- Notices are read and marked by whom they are for, and leave with their
-- subscription (notifications_once).
ALTER TABLE notifications DROP CONSTRAINT notifications_pkey;
DROP INDEX notifications_by_user;
ALTER TABLE notifications ADD PRIMARY KEY (user_id, id);

-- An order's number says whose it is: only the messages of which we know no
-- subscription are found by the number itself.
DROP INDEX callbacks_by_order;
CREATE INDEX callbacks_by_order ON callbacks (order_id)
  WHERE subscription_id IS NULL;

-- Whether the process of a server that has ended is known to have ended as well:
-- by itself, or found gone on its machine. Else its last calls may still be on
-- their way to the provider.
ALTER TABLE servers ADD COLUMN process_ended boolean NOT NULL DEFAULT false;
-- From which such server a row was taken over last.
ALTER TABLE subscriptions ADD COLUMN taken_from bigint;

-- Room in the page for the steps of an instance: no index is touched then.
ALTER TABLE instances SET (fillfactor = 50);
