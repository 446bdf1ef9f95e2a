// Before anything is painted: the colours and the language that were chosen here.
(() => {
  const kept = (name) => {
    try {
      return localStorage.getItem(`slipway.ops.${name}`);
    } catch {
      return null; // Storage is switched off: the browser's own wishes count.
    }
  };
  const root = document.documentElement;
  const theme = kept('theme');
  if (theme === 'light' || theme === 'dark') root.dataset.theme = theme;
  const wanted = kept('language') ?? navigator.language ?? 'en';
  root.lang = /^zh/i.test(wanted) ? 'zh-CN' : 'en';
})();
