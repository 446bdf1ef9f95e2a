-- A server's ownership ends by a fact that is written down, not by the clock:
-- by itself when it stops, or by another server that found it dead. From then on
-- nothing of it is written any more.

ALTER TABLE servers
  ADD COLUMN ended_at timestamptz,
  -- Which process it is, for those on the same machine: boot, pid namespace,
  -- pid and when it started. Empty where that cannot be said.
  ADD COLUMN process text NOT NULL DEFAULT '';

-- Servers of before this version cannot run beside this one.
UPDATE servers SET ended_at = now();

DROP INDEX servers_in_use;
CREATE INDEX servers_in_use ON servers (id) WHERE retired_at IS NULL;

-- Goes ahead of every write: refuses the whole transaction of a server whose
-- ownership has ended.
CREATE FUNCTION slipway_fence(server bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM servers s
                 WHERE s.id = server AND s.ended_at IS NULL) THEN
    RAISE EXCEPTION 'the ownership of server % has ended', server
      USING ERRCODE = 'SW001';
  END IF;
END
$$;

-- Subscriptions whose actor fails again and again, as long as their server lives.
CREATE TABLE quarantines (
  subscription_id bigint PRIMARY KEY REFERENCES subscriptions (id),
  server bigint NOT NULL REFERENCES servers (id),
  since timestamptz NOT NULL,
  failures integer NOT NULL CHECK (failures > 0),
  reason text NOT NULL
);
