//! Bytes that a program chose, as text.

/// Bytes as text that D-Bus takes: what is not UTF-8, and NUL, as `\xHH`. Whether there was any.
#[must_use]
pub fn text(bytes: &[u8]) -> (String, bool) {
    if let Ok(text) = str::from_utf8(bytes)
        && !text.contains('\0')
    {
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

/// Whether `bytes` as [`text`] are `wanted`, without building it where they are UTF-8.
#[must_use]
pub fn is_text(bytes: &[u8], wanted: &str) -> bool {
    bytes == wanted.as_bytes() || (wanted.contains("\\x") && text(bytes).0 == wanted)
}

/// Whether `bytes` as [`text`] begin with `wanted`.
#[must_use]
pub fn starts_with(bytes: &[u8], wanted: &str) -> bool {
    bytes.starts_with(wanted.as_bytes()) || (wanted.contains("\\x") && text(bytes).0.starts_with(wanted))
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
