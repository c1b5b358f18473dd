// The sliders and switches of a target's page; arrows go to its neighbours.
const view = document.getElementById('view');
const at = id => document.getElementById(id);
const show = (selector, on) => view?.querySelectorAll(selector).forEach(one => { one.style.visibility = on ? '' : 'hidden'; });
at('opacity')?.addEventListener('input', event => view.querySelector('.map').style.opacity = event.target.value / 100);
at('grey')?.addEventListener('change', event => view.classList.toggle('colour', !event.target.checked));
at('box')?.addEventListener('change', event => show('.box', event.target.checked));
at('mask')?.addEventListener('change', event => show('.mask', event.target.checked));
addEventListener('keydown', event => {
  if (event.target.matches?.('select, input:not([type=checkbox])') || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowLeft: 'previous', ArrowRight: 'next' }[event.key];
  if (step) at(step)?.click();
});
