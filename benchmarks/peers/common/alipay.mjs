// Alipay's asynchronous notifications, as its documentation has them checked:
// all parameters but sign and sign_type, sorted, as name=value joined by &.

import crypto from 'node:crypto';

export function makeAlipay({ publicKey, appId, sellerId }) {
  const key = crypto.createPublicKey(publicKey);
  return {
    /** Whether Alipay has signed these parameters. */
    isAuthentic(params) {
      if (params.sign_type !== 'RSA2' || !params.sign) return false;
      const text = Object.keys(params)
        .filter((name) => name !== 'sign' && name !== 'sign_type')
        .sort().map((name) => `${name}=${params[name]}`).join('&');
      return crypto.verify('sha256', Buffer.from(text), key,
        Buffer.from(params.sign, 'base64'));
    },
    /** Whether it is about us, and about money that has come. */
    isOurPayment: (params) => params.app_id === appId
      && params.seller_id === sellerId
      && ['TRADE_SUCCESS', 'TRADE_FINISHED'].includes(params.trade_status),
  };
}
