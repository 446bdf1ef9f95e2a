-- Whose subscriptions are whose, by itself: this is written once, while the row
-- of a subscription changes with every step. In an index of that table each step
-- was a new entry, in a page that nobody else had touched when there are many
-- users.
CREATE TABLE user_subscriptions (
  user_id text NOT NULL,
  subscription_id bigint NOT NULL,
  PRIMARY KEY (user_id, subscription_id)
);

-- By whatever adds a row, a server of an earlier version included. Nobody changes
-- hands (subscriptions_go_forward), and no row ever leaves.
CREATE FUNCTION slipway_list_by_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO user_subscriptions (user_id, subscription_id)
  SELECT user_id, id FROM fresh;
  RETURN NULL;
END
$$;
CREATE TRIGGER subscriptions_are_listed AFTER INSERT ON subscriptions
  REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT
  EXECUTE FUNCTION slipway_list_by_user();

-- The trigger's lock keeps new rows out until this is committed.
INSERT INTO user_subscriptions (user_id, subscription_id)
SELECT user_id, id FROM subscriptions ORDER BY user_id, id;

DROP INDEX subscriptions_by_user;
