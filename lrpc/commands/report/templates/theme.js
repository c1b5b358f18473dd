// Light or dark: as the system has it, until the button is used.
(() => {
  const root = document.documentElement;
  const kept = (() => { try { return localStorage.getItem('lrpc-theme'); } catch { return null; } })();
  if (kept) root.dataset.theme = kept;
  const dark = () => root.dataset.theme
    ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  const turn = () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    try { localStorage.setItem('lrpc-theme', root.dataset.theme); } catch { /* from disk */ }
  };
  addEventListener('DOMContentLoaded', () => document.getElementById('theme').addEventListener('click', turn));
  addEventListener('keydown', event => {
    if (event.key === 'd' && !event.target.matches?.('select, input:not([type=checkbox])')) turn();
  });
})();
