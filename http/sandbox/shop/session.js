// Who is signed in, and the rest of the sandbox.
//
// This is the one file that a frontend of your own replaces: there the token comes
// from your sign-in. /sandbox/shop exists in a sandbox only.

import { Api, ApiError } from './api.js';
import { currentLocale } from './i18n.js';

const KEPT = 'shop.session';

/** The claims of a token, unchecked: for showing a name, never for a decision. */
function claimsOf(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split('.')[1].replaceAll('-', '+')
      .replaceAll('_', '/')), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

export class Session {
  /** {token, user, visitor}; `visitor` when the sandbox has made the token. */
  #now;
  /** What GET /sandbox/shop tells; null outside a sandbox. */
  sandbox = null;
  #changed;

  constructor(changed) {
    this.#changed = changed;
    try {
      // Gone with the tab: a token is not for keeping.
      this.#now = JSON.parse(sessionStorage.getItem(KEPT) ?? 'null') ?? undefined;
    } catch {
      this.#now = undefined;
    }
  }

  get token() {
    return this.#now?.token;
  }

  get user() {
    return this.#now?.user;
  }

  #set(to) {
    this.#now = to;
    if (to) sessionStorage.setItem(KEPT, JSON.stringify(to));
    else sessionStorage.removeItem(KEPT);
    this.#changed();
  }

  async #ask(path, options) {
    return (await new Api({ token: () => undefined }).call(path, options)).data;
  }

  /** Looks whether this is a sandbox. */
  async look() {
    try {
      this.sandbox = await this.#ask('/sandbox/shop');
    } catch (error) {
      // Not handed out under this name, or no sandbox at all.
      if (!(error instanceof ApiError) || error.passing) throw error;
      this.sandbox = null;
    }
  }

  /** The sandbox's token for whoever the visitor wants to be. */
  async signIn(visitor) {
    const got = await this.#ask('/sandbox/shop/visitors', { method: 'POST',
      body: { ...visitor, locale: currentLocale() } });
    this.#set({ token: got.token, user: got.visitor.userId, visitor: got.visitor });
  }

  /** @returns whether it looks like one. */
  useToken(token) {
    if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return false;
    this.#set({ token, user: String(claimsOf(token).sub ?? '?') });
    return true;
  }

  /** Notifications and mails are in the language of the token. */
  async changeLanguage() {
    if (this.#now?.visitor) await this.signIn(this.#now.visitor);
  }

  signOut() {
    this.#set(undefined);
  }
}
