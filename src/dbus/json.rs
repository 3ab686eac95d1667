//! Rows as JSON, for `opensnitch-auditctl --json`.

use serde_json::{Map, Value};
use zbus::Variant;

/// A value in JSON: numbers, truth and text as such, arrays of these; bytes as an array of numbers.
#[must_use]
pub fn value(variant: &Variant<'_>) -> Value {
    match variant {
        Variant::U8(number) => (*number).into(),
        Variant::Bool(truth) => (*truth).into(),
        Variant::I16(number) => (*number).into(),
        Variant::U16(number) => (*number).into(),
        Variant::I32(number) => (*number).into(),
        Variant::U32(number) => (*number).into(),
        Variant::I64(number) => (*number).into(),
        Variant::U64(number) => (*number).into(),
        Variant::F64(number) => (*number).into(),
        Variant::Str(text) => text.as_str().into(),
        Variant::Variant(inner) => value(inner),
        Variant::Array(array) => array.iter().map(value).collect(),
        other => other.to_string().into(),
    }
}

/// Keys and values in JSON, in their order.
pub fn object<'k, 'a, 'v: 'a>(pairs: impl IntoIterator<Item = (&'k str, &'a Variant<'v>)>) -> Value {
    Value::Object(pairs.into_iter().map(|(key, variant)| (key.to_owned(), value(variant))).collect::<Map<_, _>>())
}
