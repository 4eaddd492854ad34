//! A document as Markdown: CommonMark with tables.

use std::fmt::Write as _;

use super::super::text::shown;
use super::{Block, Document, Table};

/// Writes a document as Markdown. A chart is written as the table of its figures.
pub fn markdown(document: &Document) -> String {
    let mut out = format!("# {}\n", escaped(&document.title));
    for block in &document.blocks {
        out.push('\n');
        match block {
            Block::Section(text) => line(&mut out, "## ", text),
            Block::Part(text) => line(&mut out, "### ", text),
            Block::Text(text) => line(&mut out, "", text),
            Block::Table(of) | Block::Chart(_, of) => table(&mut out, of),
        }
    }
    out
}

// What is written into a string cannot fail to be written.
fn line(out: &mut String, before: &str, text: &str) {
    let _ = writeln!(out, "{before}{}", escaped(text));
}

fn table(out: &mut String, table: &Table) {
    line(out, "", &table.caption);
    out.push('\n');
    row(out, &table.head);
    let _ = writeln!(out, "|{}", " --- |".repeat(table.head.len()));
    for cells in &table.rows {
        row(out, cells);
    }
}

fn row(out: &mut String, cells: &[String]) {
    out.push('|');
    for cell in cells {
        let _ = write!(out, " {} |", escaped(cell));
    }
    out.push('\n');
}

/// Text on one line that stands for itself: nothing in it is markup, HTML, a link, or an end of its line or cell.
fn escaped(text: &str) -> String {
    let shown = shown(text);
    let text = shown.trim();
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let before = &text[..at];
        match c {
            // Not all readers of tables know a pipe behind a backslash, and not all that show HTML know `\<`.
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' => out.push_str("&#124;"),
            _ => {
                if is_markup(c) || begins_block(c, before, &text[at..]) || makes_link(c, before, &text[at..]) {
                    out.push('\\');
                }
                out.push(c);
            }
        }
    }
    out
}

/// Whether a character is markup wherever it stands.
fn is_markup(c: char) -> bool {
    "\\`*_{}[]#~$@".contains(c)
}

/// Whether a character would make a list, a rule or a heading of the line that it begins.
fn begins_block(c: char, before: &str, rest: &str) -> bool {
    match c {
        '+' | '-' | '=' => before.is_empty(),
        '.' | ')' => {
            let is_number = !before.is_empty() && before.bytes().all(|byte| byte.is_ascii_digit());
            is_number && (rest.len() == 1 || rest[1..].starts_with(' '))
        }
        _ => false,
    }
}

/// Whether a character is that by which readers know a bare address, and make a link of it.
fn makes_link(c: char, before: &str, rest: &str) -> bool {
    match c {
        ':' => rest.starts_with("://"),
        '.' => before.len() >= 3 && before.as_bytes()[before.len() - 3..].eq_ignore_ascii_case(b"www"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_for_itself() {
        for (text, written) in [
            ("errors: 3 of 598 (0.50%)", "errors: 3 of 598 (0.50%)"),
            ("a|b\\|c", "a&#124;b\\\\&#124;c"),
            ("`x` *y* _z_", "\\`x\\` \\*y\\* \\_z\\_"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("&lt;", "&amp;lt;"),
            ("one\n# two\r\n- three", "one \\# two  - three"),
            ("- item", "\\- item"),
            ("12. item", "12\\. item"),
            ("3) item", "3\\) item"),
            ("0.41", "0.41"),
            ("[a](javascript:b)", "\\[a\\](javascript:b)"),
            (
                "see https://evil.example and WWW.evil.example",
                "see https\\://evil.example and WWW\\.evil.example",
            ),
            ("\u{202e}gnp.exe\u{2066}\u{1b}[2J", "gnp.exe  \\[2J"),
            ("@team", "\\@team"),
        ] {
            assert_eq!(escaped(text), written, "{text:?}");
        }
    }

    #[test]
    fn a_cell_cannot_end_its_row() {
        let table = Table::new("t", &["a", "b"], vec![vec!["x | y\n| z".to_owned(), "1".to_owned()]]);
        let document = Document {
            title: "title".to_owned(),
            blocks: vec![Block::Table(table)],
        };
        let text = markdown(&document);
        let last = text.lines().last().unwrap();
        assert_eq!(last, "| x &#124; y &#124; z | 1 |");
    }
}
