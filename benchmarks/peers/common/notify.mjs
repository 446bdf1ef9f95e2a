// POST /api/payment/alipay/notify, the same for all peers but for how a
// deployment is handed over.

/**
 * @param enqueue (subscriptionId) => Promise: resolves once it is durable that
 *   the deployment will happen; a repeat must not lead to a second one
 */
export function notifyHandler({ alipay, store, enqueue }) {
  return async (req, res) => {
    try {
      const params = req.body;
      if (!alipay.isAuthentic(params)) {
        return res.status(400).send('Invalid signature');
      }
      if (!alipay.isOurPayment(params)) return res.send('failure');
      const paid = await store.activate(params.out_trade_no, params.trade_no,
        params.total_amount);
      if (!paid?.accepted) return res.send('failure');
      // After the commit: should we die in between, Alipay comes again and
      // the repeat hands it over.
      if (paid.deploymentStatus !== 'running') {
        await enqueue(String(paid.subscriptionId));
      }
      return res.send('success');
    } catch (error) {
      console.error('Payment callback error:', error);
      return res.status(500).send('error');
    }
  };
}
