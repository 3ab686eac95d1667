//! Text that somebody else chose, as a person may see it.

use std::fmt::Write as _;

/// What moves the cursor, begins a line, turns the direction of text, or cannot be seen: each can make one name read as
/// another.
#[must_use]
pub fn is_unprintable(one: char) -> bool {
    one.is_control()
        || matches!(one, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text with what is [not printable](is_unprintable) escaped. Names, paths and arguments of an [`Event`](crate::Event) are
/// chosen by programs: show them so.
///
/// ```
/// use opensnitch_audit_client::printable;
///
/// assert_eq!(printable("cu\u{202e}lr\n é"), "cu\\u{202e}lr\\u{a} é");
/// ```
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, one| {
        if is_unprintable(one) {
            let _ = write!(out, "{}", one.escape_unicode());
        } else {
            out.push(one);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        let table = [
            ("a\x1b[2Jb\nc\u{202e}d é", "a\\u{1b}[2Jb\\u{a}c\\u{202e}d é"),
            ("\u{9b}\u{9d}\u{7f}", "\\u{9b}\\u{9d}\\u{7f}"),
            ("cu\u{200b}rl\u{feff}\u{e0041}", "cu\\u{200b}rl\\u{feff}\\u{e0041}"),
        ];
        for (text, expected) in table {
            assert_eq!(printable(text), expected);
        }
    }
}
