-- Instances and mails are written by the statement that changes the row of their
-- subscription, joined to that row, and no such row ever leaves: the look for it
-- with each of them found what had just been written. Locked in the order in which a
-- server at work goes through them.
LOCK TABLE subscriptions, instances, outbox IN ACCESS EXCLUSIVE MODE;
ALTER TABLE instances DROP CONSTRAINT instances_subscription_id_fkey;
ALTER TABLE outbox DROP CONSTRAINT outbox_subscription_id_fkey;
