"""The page's style sheet: the dashboard's colours, so that a side looks alike wherever it is shown;
contrasts of text are 4.5:1 or more in both themes.
"""

STYLE = """
:root {
  --back: #fbfbfa; --sheet: #ffffff; --text: #1b1f24; --quiet: #5c6470; --line: #e3e5e8;
  --direct: #b3420b; --pooler: #2767a8; --good: #1a6b3c; --bad: #b3261e;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171a; --sheet: #1b1f23; --text: #e4e7ea; --quiet: #9aa4af; --line: #2c3238;
    --direct: #ff9a5c; --pooler: #5ea3e6; --good: #6cc792; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 16px 20px 32px; max-width: 1040px;
  background: var(--back); color: var(--text);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
h1 { margin: 0; font-size: 20px; }
h2 { margin: 0 0 4px; font-size: 15px; }
p { margin: 4px 0; overflow-wrap: anywhere; }
ul { margin: 4px 0; padding: 0; list-style: none; overflow-wrap: anywhere; }
section, .charts { margin-top: 20px; }
.charts section { margin: 0; min-width: 0; }
footer, .quiet { color: var(--quiet); font-size: 12px; }
footer { margin-top: 24px; }
.verdict { white-space: pre-line; padding: 6px 12px; border-left: 4px solid var(--quiet); }
.verdict { background: var(--sheet); font-weight: 600; }
.verdict.passed { border-color: var(--good); }
.verdict.failed { border-color: var(--bad); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr));
  gap: 16px; align-items: start; }
figure { margin: 0; padding: 10px 12px; background: var(--sheet); border: 1px solid var(--line); }
figcaption { font-size: 13px; font-weight: 600; margin-bottom: 6px; }
.keys { display: flex; gap: 14px; font-weight: 400; }
.key { width: 24px; height: 8px; margin-right: 5px; vertical-align: middle; }
figure > svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--text); font-size: 12px; }
svg text.small { fill: var(--quiet); font-size: 11px; }
svg path { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg path.median { stroke-width: 1; }
rect.direct { fill: var(--direct); }
rect.pooler { fill: var(--pooler); }
path.direct { stroke: var(--direct); stroke-dasharray: 5 3; }
path.pooler { stroke: var(--pooler); }
line { stroke: var(--line); }
line.mark { stroke: var(--quiet); stroke-dasharray: 2 3; }
line.bad { stroke: var(--bad); stroke-width: 5; }
.wide { overflow-x: auto; width: fit-content; max-width: 100%; min-width: min(100%, 360px);
  background: var(--sheet); border: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 4px 12px; text-align: left; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--quiet); font-weight: 600; }
.number { text-align: right; white-space: nowrap; }
@media (max-width: 600px) {
  body { padding: 10px 10px 24px; }
  th, td { padding: 4px 7px; }
}
""".strip()
