// The peers' tables and what they do with them: one round trip for each step,
// through prepared statements.

export const SCHEMA = `
CREATE TABLE subscriptions (
  id bigint PRIMARY KEY,
  user_id text NOT NULL,
  plan_type text NOT NULL,
  status text NOT NULL DEFAULT 'PENDING',
  start_date timestamptz,
  end_date timestamptz,
  deployment_status text NOT NULL DEFAULT 'pending',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subscriptions_by_user ON subscriptions (user_id, id DESC);

CREATE TABLE payments (
  order_id text PRIMARY KEY,
  subscription_id bigint NOT NULL REFERENCES subscriptions (id),
  amount numeric(12, 2) NOT NULL,
  status text NOT NULL DEFAULT 'PENDING',
  transaction_id text UNIQUE,
  paid_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payments_by_subscription ON payments (subscription_id);

CREATE TABLE railway_instances (
  subscription_id bigint PRIMARY KEY REFERENCES subscriptions (id),
  project_id text NOT NULL UNIQUE,
  environment_id text NOT NULL,
  workflow_id text,
  deployment_status text NOT NULL,
  public_url text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  completed_at timestamptz
);

CREATE TABLE notifications (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id text NOT NULL,
  subscription_id bigint NOT NULL REFERENCES subscriptions (id),
  type text NOT NULL,
  data jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  read_at timestamptz,
  UNIQUE (subscription_id, type)
);
CREATE INDEX notifications_by_user ON notifications (user_id, id DESC);
`;

// The payment, the subscription it activates and the notice in one statement,
// thus in one transaction; nothing of it happens twice.
const ACTIVATE = `
WITH known AS (
  SELECT p.order_id, p.subscription_id, p.status, p.amount, p.transaction_id,
         s.deployment_status
  FROM payments p JOIN subscriptions s ON s.id = p.subscription_id
  WHERE p.order_id = $1
), paid AS (
  UPDATE payments SET status = 'PAID', transaction_id = $2, paid_at = now()
  WHERE order_id = $1 AND status = 'PENDING' AND amount = $3
  RETURNING subscription_id
), activated AS (
  UPDATE subscriptions s SET status = 'ACTIVE', start_date = now(),
    end_date = now() + interval '30 days', updated_at = now()
  FROM paid WHERE s.id = paid.subscription_id
  RETURNING s.id, s.user_id
), told AS (
  INSERT INTO notifications (user_id, subscription_id, type, data)
  SELECT user_id, id, 'PAYMENT_RECEIVED', jsonb_build_object('orderId', $1::text)
  FROM activated
  ON CONFLICT DO NOTHING
)
SELECT k.subscription_id AS "subscriptionId",
       k.deployment_status AS "deploymentStatus",
       EXISTS (SELECT FROM activated)
         OR k.status = 'PAID' AND k.transaction_id = $2 AS accepted
FROM known k`;

const RUNNING = `
WITH instance AS (
  UPDATE railway_instances SET deployment_status = 'running', public_url = $2,
    completed_at = now()
  WHERE subscription_id = $1
), running AS (
  UPDATE subscriptions SET deployment_status = 'running', updated_at = now()
  WHERE id = $1
  RETURNING id, user_id
)
INSERT INTO notifications (user_id, subscription_id, type, data)
SELECT user_id, id, 'DEPLOYMENT_SUCCESS', jsonb_build_object('publicUrl', $2::text)
FROM running
ON CONFLICT DO NOTHING`;

export function makeStore(pool) {
  const run = (name, text) => (...values) => pool.query({ name, text, values });
  const activate = run('activate', ACTIVATE);
  const instance = run('instance', `
    SELECT project_id AS "projectId", environment_id AS "environmentId",
           workflow_id AS "workflowId", deployment_status AS status
    FROM railway_instances WHERE subscription_id = $1`);
  const created = run('created', `
    WITH here AS (
      INSERT INTO railway_instances (subscription_id, project_id, environment_id,
                                     deployment_status)
      VALUES ($1, $2, $3, 'creating') ON CONFLICT DO NOTHING
    )
    UPDATE subscriptions SET deployment_status = 'creating', updated_at = now()
    WHERE id = $1`);
  const deploying = run('deploying', `
    WITH here AS (
      UPDATE railway_instances SET workflow_id = $2,
        deployment_status = 'deploying'
      WHERE subscription_id = $1
    )
    UPDATE subscriptions SET deployment_status = 'deploying', updated_at = now()
    WHERE id = $1`);
  const running = run('running', RUNNING);
  return {
    /** {subscriptionId, deploymentStatus, accepted}, or undefined. */
    activate: async (order, transaction, amount) => (
      await activate(order, transaction, amount)).rows[0],
    instance: async (id) => (await instance(id)).rows[0],
    created: (id, { projectId, environmentId }) => created(id, projectId,
      environmentId),
    deploying: (id, { workflowId }) => deploying(id, workflowId),
    running: (id, publicUrl) => running(id, publicUrl),
  };
}
