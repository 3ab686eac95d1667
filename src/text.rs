//! Bytes that a program chose, as text.

/// Bytes as text that D-Bus takes: what is not UTF-8, and NUL, as `\xHH`. Whether there was any.
#[must_use]
pub fn text(bytes: &[u8]) -> (String, bool) {
    if let Some(text) = plain(bytes) {
        return (text.to_owned(), false);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for (at, part) in chunk.valid().split('\0').enumerate() {
            if at > 0 {
                text.push_str("\\x00");
            }
            text.push_str(part);
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    (text, true)
}

/// Whether `bytes` as [`text`] are `wanted`, without building it where they are UTF-8. How long this takes does not depend on
/// what is wanted: a caller may want much.
#[must_use]
pub fn is_text(bytes: &[u8], wanted: &str) -> bool {
    bytes == wanted.as_bytes() || (plain(bytes).is_none() && text(bytes).0 == wanted)
}

/// Whether `bytes` as [`text`] begin with `wanted`; as [`is_text`].
#[must_use]
pub fn starts_with(bytes: &[u8], wanted: &str) -> bool {
    bytes.starts_with(wanted.as_bytes()) || (plain(bytes).is_none() && text(bytes).0.starts_with(wanted))
}

/// Bytes of a caller's own text in a message, escaped: enough to know it again, and no message grows with what it answers.
pub const MAX_EXCERPT: usize = 100;

/// The beginning of a caller's text, in quotes, with nothing in it that a terminal obeys.
#[must_use]
pub fn excerpt(text: &str) -> String {
    let mut excerpt = String::from('"');
    for one in text.chars() {
        let escaped = one.escape_debug();
        if excerpt.len() + escaped.len().max(one.len_utf8()) > MAX_EXCERPT + 1 {
            excerpt.push('…');
            break;
        }
        excerpt.extend(escaped);
    }
    excerpt.push('"');
    excerpt
}

/// Bytes of which nothing has to be escaped.
fn plain(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_escaped() {
        let table: &[(&[u8], &str, bool)] = &[
            (b"/usr/bin/x", "/usr/bin/x", false),
            ("/prögram".as_bytes(), "/prögram", false),
            (b"a\xffb\xc3", "a\\xffb\\xc3", true),
            (b"bin\0\x01\xff", "bin\\x00\u{1}\\xff", true),
            (b"", "", false),
            (b"\\xff", "\\xff", false),
        ];
        for (bytes, expected, escaped) in table {
            assert_eq!(text(bytes), ((*expected).to_owned(), *escaped));
            assert!(is_text(bytes, expected) && starts_with(bytes, expected), "{expected}");
            assert!(!is_text(bytes, "/usr/bin/y"), "{expected}");
        }
    }
}
