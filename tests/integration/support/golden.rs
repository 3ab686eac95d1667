//! Texts that are kept in `tests/screens/`, to be read and compared.

use std::fs;
use std::path::Path;

/// Compares a text with the one that is kept under this name. `UPDATE_GOLDEN=1` keeps this one instead: read the difference.
#[track_caller]
pub(crate) fn compare(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{}: found\n{found}\nand not\n{expected}", path.display());
}

/// The same text with `0` for each digit of a date and of a time of day.
pub(crate) fn without_times(text: &str) -> String {
    const FORMS: [&[u8]; 4] = [b"0000-00-00", b"00:00:00.000", b"00:00:00", b"00-00 00:00"];
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let fits = |form: &&&[u8]| {
            let is_alike = |(is, form): (&u8, &u8)| if *form == b'0' { is.is_ascii_digit() } else { is == form };
            bytes.len() - at >= form.len() && bytes[at..].iter().zip(**form).all(is_alike)
        };
        let length = FORMS.iter().find(fits).map_or(0, |form| form.len());
        bytes[at..at + length].iter_mut().filter(|byte| byte.is_ascii_digit()).for_each(|byte| *byte = b'0');
        at += length.max(1);
    }
    String::from_utf8(bytes).unwrap()
}

/// The same text with `N` for each number that comes behind one of these pieces.
pub(crate) fn without_numbers_after(text: &str, pieces: &[&str]) -> String {
    let mut text = text.to_owned();
    for piece in pieces {
        let parts: Vec<&str> = text.split(piece).collect();
        let (first, rest) = parts.split_first().unwrap();
        let rest = rest.iter().map(|part| {
            let behind = part.trim_start_matches(|one: char| one.is_ascii_digit());
            let number = if behind.len() < part.len() { "N" } else { "" };
            format!("{piece}{number}{behind}")
        });
        text = std::iter::once((*first).to_owned()).chain(rest).collect();
    }
    text
}
