-- Who of the operators has done what, kept for ever.
CREATE TABLE audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL,
  actor text NOT NULL CHECK (actor <> ''),
  role text NOT NULL CHECK (role IN ('operator', 'admin')),
  act text NOT NULL CHECK (act <> ''),
  -- What it was done to: `subscription` and its id, and so on.
  subject_kind text NOT NULL,
  subject text NOT NULL,
  detail text NOT NULL,
  reason text NOT NULL,
  request_id text NOT NULL,
  -- Written once, when the act has been answered. As long as there is none the
  -- act was announced, and may or may not have been done.
  outcome text CHECK (outcome <> ''),
  status smallint CHECK (status BETWEEN 100 AND 599),
  done_at timestamptz,
  CHECK ((outcome IS NULL) = (done_at IS NULL)
         AND (outcome IS NULL) = (status IS NULL))
);
CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_subject ON audit (subject, id);

-- What was written down stays; the outcome comes once.
CREATE TRIGGER audit_is_told_once BEFORE UPDATE ON audit FOR EACH ROW
  WHEN (OLD.outcome IS NOT NULL
        OR (NEW.id, NEW.at, NEW.actor, NEW.role, NEW.act, NEW.subject_kind,
            NEW.subject, NEW.detail, NEW.reason, NEW.request_id)
           IS DISTINCT FROM
           (OLD.id, OLD.at, OLD.actor, OLD.role, OLD.act, OLD.subject_kind,
            OLD.subject, OLD.detail, OLD.reason, OLD.request_id))
  EXECUTE FUNCTION slipway_refuse();
CREATE TRIGGER audit_stays BEFORE DELETE ON audit FOR EACH ROW
  EXECUTE FUNCTION slipway_refuse();

-- What is still sealed with an older key, in the order in which it gets a new
-- one.
CREATE INDEX channel_credentials_by_key
  ON channel_credentials (key_id, subscription_id, channel_type);
