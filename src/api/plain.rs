//! Text of others (Prometheus, the kubelet, a gateway, whoever wrote a file), made fit to be shown.
//!
//! It ends in status, events, annotations, logs and terminals. An escape sequence there would be obeyed, a line break would
//! forge a line, and a mark that turns the direction of writing would hide one. Must not judge what the text says.

/// Longest text of others in a condition, in characters.
pub const LONGEST_MESSAGE: usize = 4_000;

/// The character; a space in place of one that is not shown but obeyed.
pub fn visible(c: char) -> char {
    let obeyed = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    if obeyed || c.is_control() { ' ' } else { c }
}

/// The first `longest` characters on one line, each of them visible.
pub fn plain(text: &str, longest: usize) -> String {
    text.chars().take(longest).map(visible).collect()
}

/// The same for a text that may have lines and tabs.
pub fn plain_lines(text: &str) -> String {
    let kept = |c| if matches!(c, '\n' | '\t') { c } else { visible(c) };
    text.chars().map(kept).collect()
}
