// The style sheet of the report's page: for a screen and, first of all, for paper. No fonts or pictures from elsewhere.

export const reportStyle = `
:root {
  color-scheme: light;
  --ink: #17211f; --quiet: #57655f; --line: #dfe5e2; --soft: #f1f4f3; --card: #fff;
  --sessions: #00735c; --probes: #86c7b5; --sources: #0068a8; --ports: #c65200; --spread: #98588c; --block: #3d3d3d;
  --axis: #8b9893; --sea: #f4f8fa; --land: #e4e8e6; --border: #fff;
  --shade1: #d3e5f3; --shade2: #a9cbe6; --shade3: #77abd6; --shade4: #4388bf; --shade5: #1f669f; --shade6: #0b4475;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
* { box-sizing: border-box; }
html { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
body { margin: 0 auto; max-width: 1040px; padding: 32px 24px 64px; font: 14px/1.5 var(--sans); color: var(--ink); background: var(--card); }
h1 { font-size: 26px; margin: 0 0 2px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 40px 0 4px; padding-top: 10px; border-top: 2px solid var(--ink); }
h3 { font-size: 14px; margin: 20px 0 4px; }
p { margin: 4px 0 10px; max-width: 76ch; }
.quiet, .note { color: var(--quiet); }
.note { font-size: 13px; }
svg { display: block; width: 100%; height: auto; margin: 10px 0 6px; }
svg text { font: 11px var(--sans); fill: var(--quiet); }
svg text.panel { font-weight: 600; fill: var(--ink); }
svg text.name, svg text.scan-words { fill: var(--ink); }
svg text.figure { fill: var(--ink); font-variant-numeric: tabular-nums; }
.axis { stroke: var(--axis); } .grid { stroke: var(--line); }
.sessions { fill: var(--sessions); } .probes { fill: var(--probes); } .sources { fill: var(--sources); }
.ports { fill: var(--ports); } .spread { fill: var(--spread); }
.scan { fill: var(--ports); } .scan.sweep { fill: var(--sources); } .scan.block-scan { fill: var(--block); }
.scan.slow-scan { fill: var(--spread); } .scan.two-phase-scan { fill: var(--sessions); }
.sea { fill: var(--sea); stroke: var(--line); } .land { fill: var(--land); stroke: var(--border); stroke-width: .5; }
.shade1 { fill: var(--shade1); } .shade2 { fill: var(--shade2); } .shade3 { fill: var(--shade3); } .shade4 { fill: var(--shade4); } .shade5 { fill: var(--shade5); } .shade6 { fill: var(--shade6); }
path[class^=shade] { stroke: var(--border); stroke-width: .5; } .dot { stroke: var(--ink); stroke-width: .7; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(100px, 1fr)); gap: 10px; margin: 18px 0 8px; }
.figures div { background: var(--soft); border-radius: 8px; padding: 10px 12px; }
.figures b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
.figures span { color: var(--quiet); font-size: 12px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 12px; color: var(--quiet); }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 5px; vertical-align: -1px; }
table { border-collapse: collapse; width: 100%; margin: 8px 0 6px; font-size: 13px; }
th { text-align: left; font-weight: 600; color: var(--quiet); font-size: 12px; border-bottom: 1px solid var(--axis); padding: 3px 10px 3px 0; vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); padding: 4px 10px 4px 0; vertical-align: top; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.time { white-space: nowrap; }
code, .code { font: 12px/1.45 var(--mono); overflow-wrap: anywhere; }
pre { margin: 3px 0 0; padding: 6px 8px; background: var(--soft); border-radius: 6px; font: 11.5px/1.45 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 0 28px; }
.campaign { margin: 14px 0; padding: 10px 14px; border: 1px solid var(--line); border-radius: 8px; }
.campaign h3 { margin: 0 0 4px; }
.tag { display: inline-block; padding: 0 6px; margin: 0 4px 2px 0; border: 1px solid var(--line); border-radius: 9px; font-size: 12px; white-space: nowrap; }
ul { margin: 4px 0 10px; padding-left: 20px; }
.brief { display: grid; grid-template-columns: 1fr 1fr; gap: 0 28px; margin-top: 14px; align-items: start; }
.brief h3 { margin-top: 4px; } .brief li { margin: 0 0 5px; }
.todo { padding: 8px 16px 4px; border-left: 4px solid var(--ports); background: var(--soft); border-radius: 0 8px 8px 0; }
ol { margin: 4px 0 10px; padding-left: 22px; }
.wide { overflow-x: auto; }
@media screen and (prefers-color-scheme: dark) {
  :root {
    color-scheme: dark;
    --ink: #e3e9e6; --quiet: #9fb0a9; --line: #2c3633; --soft: #1a2220; --card: #101514;
    --sessions: #35b597; --probes: #1f5e50; --sources: #56a8e2; --ports: #ee8a3c; --spread: #c48bba; --block: #b9b9b9;
    --axis: #66736e; --sea: #131b1f; --land: #29312f; --border: #101514;
    --shade1: #1d3a52; --shade2: #24557c; --shade3: #2f76a9; --shade4: #4a9ad1; --shade5: #83bfea; --shade6: #c5e3fb;
  }
  a { color: var(--sources); }
}
@media screen and (max-width: 640px) {
  body { padding: 18px 14px 40px; } .brief { grid-template-columns: 1fr; }
  .wide table { min-width: 520px; } .columns .wide table { min-width: 0; }
}
@media print {
  @page { margin: 14mm 12mm; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2 { margin-top: 20px; } h2, h2 + p, h3, thead { break-after: avoid; } p, li { break-inside: avoid; }
  .figures { grid-template-columns: repeat(8, 1fr); gap: 6px; } .figures div { padding: 6px 8px; } .figures b { font-size: 15px; }
  .columns { display: flex; flex-wrap: wrap; gap: 0 20px; } .columns > div { flex: 1 1 180px; break-inside: avoid; }
  svg text { font-size: 12.5px; }
  .wide { overflow: visible; }
  svg, tr, .campaign, .figures div { break-inside: avoid; }
  table { font-size: 9.5pt; }
}
`;
