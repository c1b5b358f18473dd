// The sliders and switches of a target's page; arrows go to its neighbours.
const view = document.getElementById('view');
const at = id => document.getElementById(id);
const show = (selector, on) => view?.querySelectorAll(selector).forEach(one => { one.style.visibility = on ? '' : 'hidden'; });
at('opacity')?.addEventListener('input', event => view.querySelector('.map').style.opacity = event.target.value / 100);
at('grey')?.addEventListener('change', event => view.classList.toggle('colour', !event.target.checked));
at('box')?.addEventListener('change', event => show('.box', event.target.checked));
at('mask')?.addEventListener('change', event => show('.mask', event.target.checked));
const map = view?.querySelector('.map'), own = map && { src: map.src, width: map.style.width, height: map.style.height };
at('layer')?.addEventListener('input', event => {
  // Places inside the network have the whole input, padding too; the map is that of the image alone.
  const k = +event.target.value - 1, name = location.pathname.match(/(\d+)\.html$/)[1];
  at('place').textContent = k < 0 ? 'the image' : lrpcLayers[k];
  map.src = k < 0 ? own.src : `../layers/${name}-${k}.webp`;
  map.style.width = k < 0 ? own.width : `calc(${own.width} * ${lrpcFrame[1]})`;
  map.style.height = k < 0 ? own.height : `calc(${own.height} * ${lrpcFrame[0]})`;
});
addEventListener('keydown', event => {
  if (event.target.matches?.('select, input:not([type=checkbox])') || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowLeft: 'previous', ArrowRight: 'next' }[event.key];
  if (step) at(step)?.click();
});
