//! A document as one HTML file: no script, nothing is loaded, and it prints well.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::text::shown;
use super::svg::svg;
use super::{Block, Document, Table};

/// Colours are the same in charts and legends; each has a contrast of 3:1 or more against its page, and text of 7:1.
const STYLE: &str = "
:root { color-scheme: light dark; --page: #ffffff; --text: #1c2530; --soft: #46525f; --line: #8894a5; --head: #e8edf3;
  --s0: #1f5fa8; --s1: #b3541e; --s2: #2f7d4a; --s3: #7a4fa3; --s4: #8a6d00; --s5: #5a6572; --harm: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --text: #e9eef4; --soft: #aab6c3; --line: #728096; --head: #202833;
  --s0: #79b0f0; --s1: #f0a070; --s2: #7fcf95; --s3: #c6a3ea; --s4: #e0c45a; --s5: #aab6c3; --harm: #ff8a80; } }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; border-top: 2px solid var(--line); padding-top: 1rem; }
p { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-size: 0.875rem; }
caption { text-align: left; color: var(--soft); padding: 0.25rem 0; }
th, td { border: 1px solid var(--line); padding: 0.25rem 0.5rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
thead th { background: var(--head); }
tbody th { font-weight: 600; overflow-wrap: break-word; }
figure { margin: 1rem 0; }
figure svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
.axis { stroke: var(--line); stroke-width: 1; fill: none; }
.s0 { fill: var(--s0); } .s1 { fill: var(--s1); } .s2 { fill: var(--s2); } .s3 { fill: var(--s3); } .s4 { fill: var(--s4); } .s5 { fill: var(--s5); }
.band { stroke: var(--page); stroke-width: 1; }
.curve { fill: none; stroke-width: 2; }
.candidate { stroke: var(--s0); } .baseline { stroke: var(--s1); stroke-dasharray: 7 4; } .limit { stroke: var(--harm); stroke-dasharray: 2 3; }
@media print { body { background: #ffffff; color: #000000; font-size: 11pt; } main { max-width: none; padding: 0; }
  :root { --page: #ffffff; --text: #000000; --soft: #333333; --line: #777777; --head: #eeeeee;
    --s0: #1f5fa8; --s1: #b3541e; --s2: #2f7d4a; --s3: #7a4fa3; --s4: #8a6d00; --s5: #5a6572; --harm: #b3261e; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2, h3, caption { break-after: avoid; } tr, figure { break-inside: avoid; } thead { display: table-header-group; } }
";

/// Nothing is run and nothing is loaded, whatever a record says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Writes a document as one HTML file.
pub fn html(document: &Document) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (shown(&document.title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (shown(&document.title)) }
                    @for (at, of) in document.blocks.iter().enumerate() { (block(at, of)) }
                }
            }
        }
    };
    page.into_string()
}

/// `at` is a number that no other block has.
fn block(at: usize, block: &Block) -> Markup {
    match block {
        Block::Section(text) => html! { h2 { (shown(text)) } },
        Block::Part(text) => html! { h3 { (shown(text)) } },
        Block::Text(text) => html! { p { (shown(text)) } },
        Block::Table(of) => table(of),
        Block::Chart(chart, of) => html! {
            figure { (svg(at, chart)) }
            (table(of))
        },
    }
}

fn table(table: &Table) -> Markup {
    html! {
        table {
            caption { (shown(&table.caption)) }
            thead {
                tr { @for name in &table.head { th scope="col" { (shown(name)) } } }
            }
            tbody {
                @for row in &table.rows {
                    tr {
                        @for (at, cell) in row.iter().enumerate() {
                            @if at == 0 { th scope="row" { (shown(cell)) } } @else { td { (shown(cell)) } }
                        }
                    }
                }
            }
        }
    }
}
