//! Recorded streams: what they hold, and that it stays the same however they are read.

use std::fs;

use crate::support::{decode, logs};
use serde_json::{Map, Value};

/// What is a service's to know and not the stream's, or is a form of another key.
const NOT_COMPARED: [&str; 9] = [
    "Sequence",
    "Count",
    "LastSeen",
    "ProcPathRaw",
    "ProcDirRaw",
    "DstPathRaw",
    "ProcPathFrom",
    "SocketType",
    "Protocol",
];

#[test]
fn every_stream_holds_the_events_beside_it() {
    let (mut fields, mut cut) = (0, 0);
    for path in logs() {
        let decoded = decode(&fs::read(&path).unwrap(), "opensnitch", &[]);
        let golden = fs::read_to_string(path.with_extension("events.jsonl")).unwrap();
        let golden: Vec<Map<String, Value>> = golden.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(decoded.events.len(), golden.len(), "{}", path.display());
        for (found, expected) in decoded.events.iter().zip(&golden) {
            let is_cut = found.get("ArgsCut").is_some();
            if is_cut {
                let joined = |of: &Map<String, Value>| {
                    let args = of["Args"].as_array().unwrap().iter();
                    args.map(|arg| arg.as_str().unwrap().to_owned()).collect::<Vec<_>>().join("\0")
                };
                assert!(joined(expected).starts_with(&joined(found)), "{}", path.display());
                cut += 1;
            }
            for (key, expected) in expected {
                if NOT_COMPARED.contains(&key.as_str()) || is_cut && matches!(&**key, "Args" | "ProcCmdLine") {
                    continue;
                }
                assert_eq!(found.get(key), Some(expected), "{key} of {} in {}", expected, path.display());
                fields += 1;
            }
        }
        assert_eq!((decoded.framing.torn, decoded.framing.oversized), (0, 0), "{}", path.display());
        assert_eq!((decoded.assembly.malformed, decoded.assembly.late), (0, 0), "{}", path.display());
        let is_long = path.to_string_lossy().contains("bigarg") || path.to_string_lossy().contains("longargs");
        assert!(is_long || decoded.assembly.cut == 0, "{}: {:?}", path.display(), decoded.assembly);
    }
    assert!(fields > 20_000 && cut >= 4, "{fields} {cut}");
}
