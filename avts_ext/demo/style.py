"""The style sheet of the report: phone to desktop, light and dark, readable in grey."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fcfcfb; --text: #1b1f24; --muted: #5c6670; --grid: #dcdfe3; --card: #f2f3f4;
  --series-0: #0060a0; --series-1: #c05000; --series-2: #00735a;
  --good: #0060a0; --bad: #a83200; --on-bad: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15181c; --text: #e6e8ea; --muted: #a0a8b0; --grid: #363c43; --card: #1f2429;
    --series-0: #63b5f0; --series-1: #f0a04b; --series-2: #4fcfa8;
    --good: #63b5f0; --bad: #ff9a6b; --on-bad: #15181c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem;
  background: var(--ground); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: break-word;
}
p, li, dl { max-width: 44rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid var(--grid); }
h3 { font-size: 1.05rem; line-height: 1.35; margin: 1.5rem 0 .5rem; }
code, pre { font: .875em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre { padding: .75rem 1rem; background: var(--card); border-radius: .4rem; overflow-x: auto; }
.muted, figcaption { color: var(--muted); font-size: .9rem; }
.lead { font-size: 1.1rem; }

.effects { display: grid; gap: .75rem; padding: 0; margin: 1.25rem 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
.effect { padding: .8rem 1rem; background: var(--card); border-radius: .4rem;
  border-left: .3rem solid var(--good); }
.effect.fails { border: .15rem dashed var(--bad); border-left: .3rem solid var(--bad); }
.effect h3 { margin: .4rem 0 .25rem; }
.effect p { margin: .25rem 0; }
.badge { display: inline-block; padding: .05rem .6rem; border-radius: 1rem; font-size: .85rem;
  font-weight: 600; border: 1.5px solid var(--good); color: var(--good); }
.fails .badge { border-color: var(--bad); background: var(--bad); color: var(--on-bad); }

.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--grid); text-align: left;
  vertical-align: top; }
thead th { border-bottom: 2px solid var(--muted); font-size: .85rem; vertical-align: bottom; }
.number { text-align: right; }
td.number { white-space: nowrap; }
td.words:first-child { min-width: 9.5rem; }
.scroll .words:first-child { position: sticky; left: 0; background: var(--ground); }
td code { display: block; overflow-wrap: normal; }
@media (min-width: 60rem) { td.words { white-space: nowrap; } }
.scroll:focus-visible { outline: 2px solid var(--series-0); }

.side { display: grid; gap: 0 2.5rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
figure { margin: 1rem 0; min-width: 0; }
.plot { max-width: 30rem; }
.plot svg { display: block; width: 100%; height: auto; }
.plot svg * { stroke-linejoin: round; }
.plot text { font-family: inherit !important; }

.gallery { display: grid; gap: 1.5rem; }
.exhibit { padding: 1rem; background: var(--card); border-radius: .4rem; min-width: 0; }
.exhibit h4 { margin: 0; font-size: 1.05rem; }
.exhibit p { margin: .25rem 0 .75rem; }
.exhibit p:last-child { margin: .75rem 0 0; }
.media { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 16rem), 1fr)); }
.media figure { margin: 0; }
.media img, .media video { display: block; width: 100%; height: auto; border-radius: .25rem; }

dl { margin: 1rem 0; }
dl div { margin: .4rem 0; }
dt, dd { display: inline; margin: 0; }
dt { font-weight: 600; }
dt::after { content: ": "; }
details { margin: 1rem 0; }
summary { cursor: pointer; }
"""
