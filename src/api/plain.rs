//! Foreign text (of Prometheus, the kubelet, a gateway, the author of a file), made safe to show.
//!
//! It ends up in status, events, annotations, logs and terminals. There an escape sequence would be executed, a line
//! break would forge a line, and a bidirectional control character would hide one. Must not judge what the text says.

/// Longest foreign text in a condition, in characters.
pub const LONGEST_MESSAGE: usize = 4_000;

/// The character itself, or a space in place of a control character.
pub fn visible(c: char) -> char {
    let obeyed = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    );
    if obeyed || c.is_control() { ' ' } else { c }
}

/// The first `longest` characters on one line, each of them visible.
pub fn plain(text: &str, longest: usize) -> String {
    text.chars().take(longest).map(visible).collect()
}

/// The whole text, each character visible; line breaks and tabs are kept.
pub fn plain_lines(text: &str) -> String {
    let kept = |c| if matches!(c, '\n' | '\t') { c } else { visible(c) };
    text.chars().map(kept).collect()
}
