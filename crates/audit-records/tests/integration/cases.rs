//! Hostile and odd records, each the smallest of its kind: `cases.json`.

use crate::support::{args_of, decode};
use serde_json::Value;

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("cases.json")).unwrap()
}

fn stream(case: &Value) -> Vec<u8> {
    case["lines"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|line| [line.as_str().unwrap(), "\n"].concat().into_bytes())
        .collect()
}

#[test]
fn every_case_comes_out_as_it_says() {
    let cases = cases();
    assert!(cases.len() >= 14);
    for case in &cases {
        let (id, why) = (&case["id"], &case["why"]);
        let events = decode(&stream(case), case["key"].as_str().unwrap(), &[]).events;
        match case["events"].as_u64() {
            Some(count) => assert_eq!(events.len() as u64, count, "{id}: {why}: {events:?}"),
            None => assert_eq!(events.len(), 1, "{id}: {why}: {events:?}"),
        }
        let Some(event) = events.first() else { continue };
        for (key, wanted) in case["wanted"].as_object().unwrap() {
            assert_eq!(event.get(key), Some(wanted), "{id}: {key}: {why}");
        }
        for key in case["absent"].as_array().unwrap() {
            assert_eq!(event.get(key.as_str().unwrap()), None, "{id}: {key}: {why}");
        }
    }
}

#[test]
fn a_half_argument_is_not_shown_and_is_counted() {
    for case in cases() {
        let id = case["id"].as_str().unwrap();
        if !id.starts_with("execve-") {
            continue;
        }
        let (stream, key) = (stream(&case), case["key"].as_str().unwrap());
        let lost = matches!(id, "execve-tail-lost" | "execve-middle-lost");
        let args = args_of(&stream, key).remove(0);
        assert_eq!(args.is_some_and(|args| args.whole), id == "execve-empty-argument", "{id}");
        assert_eq!(decode(&stream, key, &[]).assembly.cut, u64::from(lost), "{id}");
    }
}
