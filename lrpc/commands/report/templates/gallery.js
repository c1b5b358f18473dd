// Rows: number, file, class, target, composite, score, share on object, value, closure.
const PAGE = 60;
const at = id => document.getElementById(id);
const name = n => String(n).padStart(6, '0');
let found = [], page = 0;

function filter() {
  const text = at('find').value.toLowerCase();
  const is = { 2: at('label').value, 3: at('kind').value, 4: at('composite').value };
  const score = +at('score').value, low = +at('low').value, high = +at('high').value;
  found = lrpcRows.filter(row =>
    Object.entries(is).every(([i, value]) => !value || row[i] === value)
    && (!text || row[1].toLowerCase().includes(text))
    && (score <= 0 || (row[5] ?? 0) >= score)
    && (low <= 0 || (row[6] ?? -1) >= low) && (high >= 1 || (row[6] ?? 2) <= high));
  const order = +at('order').value, column = Math.abs(order), sign = Math.sign(order);
  if (order) found.sort((a, b) => (a[column] == null) - (b[column] == null) || sign * (a[column] - b[column]) || a[0] - b[0]);
  page = 0;
  draw();
}

function card(row) {
  const [n, file, label, , composite, score, share] = row;
  const link = document.createElement('a');
  link.className = 'card';
  link.href = `targets/${name(n)}.html`;
  const image = document.createElement('img');
  image.loading = 'lazy';
  image.src = `thumbs/${name(n)}.webp`;
  image.alt = '';
  const words = document.createElement('span');
  words.textContent = score == null ? label : `${label} ${score.toFixed(2)}`;
  const more = document.createElement('small');
  more.textContent = share == null ? '' : `${share.toFixed(2)} on object`;
  const rules = document.createElement('small');
  rules.textContent = composite;
  const where = document.createElement('small');
  where.textContent = file;
  link.append(image, words, more, rules, where);
  return link;
}

function draw() {
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  at('gallery').replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(card));
  at('count').textContent = `${found.length} of ${lrpcRows.length} targets, page ${page + 1} of ${pages}`;
  at('before').disabled = page === 0;
  at('after').disabled = page === pages - 1;
}

const turn = step => { page += step; draw(); scrollTo(0, 0); };
for (const id of ['label', 'kind', 'composite', 'score', 'low', 'high', 'find', 'order']) at(id).addEventListener('input', filter);
at('before').addEventListener('click', () => turn(-1));
at('after').addEventListener('click', () => turn(1));
addEventListener('keydown', event => {
  const typing = event.target.matches?.('select, input');
  if (event.key === 'Escape') document.activeElement.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'ArrowLeft') turn(-1);
  if (event.key === 'ArrowRight') turn(1);
  if (event.key === '/') { event.preventDefault(); at('find').focus(); }
});
filter();
