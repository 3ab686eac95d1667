//! A field's value, as it was written and as it was meant.

use std::borrow::Cow;

use memchr::memchr;

/// The value of one field, still as the kernel wrote it.
///
/// The kernel writes text that programs choose (`audit_log_untrustedstring`, kernel/audit.c) in quotes, or
/// in bare hexadecimal where it holds a quote, a space, a control or a byte beyond ASCII. So `"cafe"` is text and
/// `CAFE` is two bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// The value as it stands in the line, quotes included.
    #[inline]
    #[must_use]
    pub const fn new(written: &'a [u8]) -> Self {
        Self(written)
    }

    /// The bytes as they stand in the line.
    #[inline]
    #[must_use]
    pub const fn written(self) -> &'a [u8] {
        self.0
    }

    /// Whether the kernel or auditd said "nothing": an absent field, `(null)`, `(none)`, `<null>`, `?`, `unset`.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        matches!(self.0, b"" | b"(null)" | b"(none)" | b"<null>" | b"?" | b"unset")
    }

    /// Text that a program chose: comm, exe, cwd, name, proctitle, key, an argument.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, [u8]>> {
        if let Some(rest) = self.0.strip_prefix(b"\"") {
            let end = memchr(b'"', rest).unwrap_or(rest.len());
            return rest.get(..end).map(Cow::Borrowed);
        }
        if self.is_nothing() {
            return None;
        }
        Some(unhex(self.0).map_or(Cow::Borrowed(self.0), Cow::Owned))
    }

    /// Text that the kernel writes in quotes or in hexadecimal and in no other way; `None` for anything else.
    #[must_use]
    pub fn strict_text(self) -> Option<Cow<'a, [u8]>> {
        match self.0.strip_prefix(b"\"") {
            Some(rest) => rest.strip_suffix(b"\"").filter(|text| !text.contains(&b'"')).map(Cow::Borrowed),
            None if self.0.is_empty() => None,
            None => unhex(self.0).map(Cow::Owned),
        }
    }

    /// A word that is never encoded: tty, dev, mode. Some programs that rewrite logs put it in quotes.
    #[must_use]
    pub fn word(self) -> Option<&'a [u8]> {
        let word = self.0.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(self.0);
        (!Self(word).is_nothing()).then_some(word)
    }

    /// `success`: yes or no.
    #[must_use]
    pub fn truth(self) -> Option<bool> {
        match self.0 {
            b"yes" | b"\"yes\"" => Some(true),
            b"no" | b"\"no\"" => Some(false),
            _ => None,
        }
    }

    /// Bytes in hexadecimal (saddr); an odd digit or a foreign byte ends them.
    pub fn bytes(self) -> impl Iterator<Item = u8> + use<'a> {
        self.pairs().iter().map_while(|&pair| hex_byte(pair))
    }

    /// Two characters for each byte, be they digits or not.
    pub(crate) fn pairs(self) -> &'a [[u8; 2]] {
        let (pairs, _) = self.0.as_chunks();
        pairs
    }

    /// An unsigned decimal number: pid, uid, argc. `None` where it is no such number, or does not fit.
    #[must_use]
    pub fn unsigned<T: TryFrom<u64>>(self) -> Option<T> {
        decimal(self.0).and_then(|number| T::try_from(number).ok())
    }

    /// A decimal number with a sign: exit.
    #[must_use]
    pub fn signed(self) -> Option<i64> {
        match self.0.strip_prefix(b"-") {
            Some(digits) => 0i64.checked_sub_unsigned(decimal(digits)?),
            None => decimal(self.0)?.try_into().ok(),
        }
    }

    /// A hexadecimal number without `0x`: arch, a0 to a3.
    #[must_use]
    pub fn hexadecimal(self) -> Option<u64> {
        if self.0.is_empty() || self.0.len() > 16 {
            return None;
        }
        self.0.iter().try_fold(0, |number: u64, &digit| Some(number << 4 | u64::from(hex_digit(digit)?)))
    }

    /// An id of a user, a session: 4294967295 means that it was never set (AUDIT_UID_UNSET, kernel audit.h).
    #[must_use]
    pub fn id(self) -> Option<u32> {
        self.unsigned().filter(|&id| id != u32::MAX)
    }
}

/// A decimal number without a sign. Longer than 19 digits is no number of the kernel's but u64's last ones;
/// overflow is `None`.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    let small =
        |digits: &[u8]| digits.iter().try_fold(0u64, |number, &digit| Some(number * 10 + decimal_digit(digit)?));
    match digits {
        [] => None,
        _ if digits.len() < 20 => small(digits),
        // Only the twentieth digit can be too much.
        [first @ .., last] if digits.len() == 20 => small(first)?.checked_mul(10)?.checked_add(decimal_digit(*last)?),
        _ => None,
    }
}

#[inline]
fn decimal_digit(byte: u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(digit.into())
}

/// All of `text` as hexadecimal, or `None` where it is not.
fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(pairs.len());
    for &pair in pairs {
        bytes.push(hex_byte(pair)?);
    }
    Some(bytes)
}

const NOT_A_DIGIT: u8 = 0xFF;

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
/// The value of every byte as a hexadecimal digit: a table, since each argument of each execve passes here.
static HEX_DIGITS: [u8; 256] = {
    let mut table = [NOT_A_DIGIT; 256];
    let mut digit = 0u8;
    while digit < 16 {
        table[b"0123456789abcdef"[digit as usize] as usize] = digit;
        table[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    table
};

/// The digit's value, or [`NOT_A_DIGIT`].
#[inline]
fn hex_value(byte: u8) -> u8 {
    HEX_DIGITS.get(usize::from(byte)).copied().unwrap_or(NOT_A_DIGIT)
}

#[inline]
fn hex_digit(byte: u8) -> Option<u8> {
    Some(hex_value(byte)).filter(|&value| value != NOT_A_DIGIT)
}

#[inline]
fn hex_byte(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits;
    let (high, low) = (hex_value(high), hex_value(low));
    // One look tells whether both are digits.
    (high | low != NOT_A_DIGIT).then_some(high << 4 | low)
}

/// All of these, or `None` where one is no byte in hexadecimal.
#[inline]
pub(crate) fn hex_bytes<const N: usize>(pairs: &[[u8; 2]; N]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, &pair) in bytes.iter_mut().zip(pairs) {
        *byte = hex_byte(pair)?;
    }
    Some(bytes)
}

/// How much of a hostile line an error or a log may carry, in bytes.
const EXCERPT: usize = 80;

/// The beginning of `line`, made harmless for a log: at most [`EXCERPT`] bytes, all printable ASCII.
#[must_use]
pub(crate) fn escape_bounded(line: &[u8]) -> String {
    let end = line.len().min(EXCERPT);
    let mut text = line.get(..end).unwrap_or_default().escape_ascii().to_string();
    if line.len() > end {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        let table: &[(&str, Option<&[u8]>)] = &[
            ("\"cafe\"", Some(b"cafe")),
            ("CAFE", Some(b"\xCA\xFE")),
            ("cafe", Some(b"\xCA\xFE")),
            ("CAF", Some(b"CAF")),
            ("pts0", Some(b"pts0")),
            ("\"\"", Some(b"")),
            ("\"torn", Some(b"torn")),
            ("\"(null)\"", Some(b"(null)")),
            ("\"?\"", Some(b"?")),
            ("(null)", None),
            ("(none)", None),
            ("<null>", None),
            ("?", None),
            ("", None),
            ("6120622063", Some(b"a b c")),
        ];
        for (written, text) in table {
            assert_eq!(Value::new(written.as_bytes()).text().as_deref(), *text, "{written}");
        }
    }

    #[test]
    fn strict_text_is_quoted_or_hexadecimal() {
        let table: &[(&str, Option<&[u8]>)] = &[
            ("\"opensnitch\"", Some(b"opensnitch")),
            ("\"\"", Some(b"")),
            ("6101", Some(b"a\x01")),
            ("(null)", None),
            ("(null)ARCH=x86_64", None),
            ("\"open", None),
            ("\"a\"b\"", None),
            ("\"", None),
            ("abc", None),
            ("", None),
        ];
        for (written, text) in table {
            assert_eq!(Value::new(written.as_bytes()).strict_text().as_deref(), *text, "{written}");
        }
    }

    #[test]
    fn words() {
        let table: &[(&str, Option<&[u8]>)] = &[
            ("pts0", Some(b"pts0")),
            ("\"00:2f\"", Some(b"00:2f")),
            ("(none)", None),
            ("\"(none)\"", None),
            ("", None),
        ];
        for (written, word) in table {
            assert_eq!(Value::new(written.as_bytes()).word(), *word, "{written}");
        }
        for (written, truth) in [("yes", Some(true)), ("\"no\"", Some(false)), ("maybe", None), ("", None)] {
            assert_eq!(Value::new(written.as_bytes()).truth(), truth, "{written}");
        }
    }

    #[test]
    fn numbers() {
        let value = |text: &'static str| Value::new(text.as_bytes());
        assert_eq!(value("4294967295").unsigned::<u32>(), Some(u32::MAX));
        assert_eq!(value("4294967296").unsigned::<u32>(), None);
        assert_eq!(value("18446744073709551615").unsigned::<u64>(), Some(u64::MAX));
        assert_eq!(value("18446744073709551616").unsigned::<u64>(), None);
        assert_eq!(value("").unsigned::<u32>(), None);
        assert_eq!(value("+1").unsigned::<u32>(), None);
        assert_eq!(value("-115").signed(), Some(-115));
        assert_eq!(value("-9223372036854775808").signed(), Some(i64::MIN));
        assert_eq!(value("9223372036854775808").signed(), None);
        assert_eq!(value("--1").signed(), None);
        assert_eq!(value("c000003e").hexadecimal(), Some(0xc000_003e));
        assert_eq!(value("0x1").hexadecimal(), None);
        assert_eq!(value("10000000000000000").hexadecimal(), None);
        assert_eq!(value("4294967295").id(), None);
        assert_eq!(value("0").id(), Some(0));
    }

    #[test]
    fn bytes_end_at_the_first_that_is_none() {
        let bytes = |text: &'static str| Value::new(text.as_bytes()).bytes().collect::<Vec<_>>();
        assert_eq!(bytes("0102FF"), [1, 2, 255]);
        assert_eq!(bytes("0102F"), [1, 2]);
        assert_eq!(bytes("01zz02"), [1]);
        assert_eq!(bytes(""), [0; 0]);
    }
}
