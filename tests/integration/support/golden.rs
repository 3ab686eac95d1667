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

/// The same text with `0` for each digit of a time of day: `00:00:00`, with or without parts of a second.
pub(crate) fn without_times(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let length = time_of_day(&bytes[at..]);
        bytes[at..at + length].iter_mut().filter(|byte| byte.is_ascii_digit()).for_each(|byte| *byte = b'0');
        at += length.max(1);
    }
    String::from_utf8(bytes).unwrap()
}

/// How long the time is with which a text begins.
fn time_of_day(text: &[u8]) -> usize {
    let fits = |form: &[u8]| {
        text.len() >= form.len()
            && text.iter().zip(form).all(|(is, form)| if *form == b'0' { is.is_ascii_digit() } else { is == form })
    };
    [&b"00:00:00.000"[..], b"00:00:00"].into_iter().find(|form| fits(form)).map_or(0, <[u8]>::len)
}
