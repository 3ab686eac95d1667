//! The types on the wire, as zbus writes and reads it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that goes wrong says so")]

use std::collections::{HashMap, HashSet};

use opensnitch_audit_client::{Event, EventList, Finding, InvalidQuery, Protocol, Query, text};
use zbus::wire::{Endian, LE, serialized::Context, to_bytes};
use zbus::{OwnedVariant, Type, Variant};

/// A value that is there for a type, and may be long.
fn example(signature: &str) -> Variant<'static> {
    match signature {
        "b" => true.into(),
        "q" => u16::MAX.into(),
        "i" => i32::MIN.into(),
        "u" => u32::MAX.into(),
        "x" => i64::MIN.into(),
        "t" => u64::MAX.into(),
        "s" => "text → text".into(),
        "ay" => vec![0u8, 0xff, 1].into(),
        "au" => vec![1u32, 2, 3].into(),
        "as" => vec!["", "a", "text of some length"].into(),
        "a(us)" => vec![(1u32, "/sbin/init".to_owned()), (2, String::new())].into(),
        other => panic!("no example of {other}"),
    }
}

/// Reads a dictionary as an event.
fn event(pairs: &HashMap<String, Variant<'_>>) -> Event {
    to_bytes(Context::new(LE, 0), pairs).unwrap().deserialize().unwrap().0
}

fn pairs(event: &Event) -> HashMap<String, OwnedVariant> {
    to_bytes(Context::new(LE, 0), event).unwrap().deserialize().unwrap().0
}

/// One with every key.
fn full() -> Event {
    event(&Event::KEYS.iter().map(|(key, signature)| ((*key).to_owned(), example(signature))).collect())
}

#[test]
fn every_key_is_written_as_it_was_read() {
    let written = pairs(&full());
    assert_eq!(written.len(), Event::KEYS.len());
    for (key, signature) in Event::KEYS {
        assert_eq!(written[*key], OwnedVariant::try_from(example(signature)).unwrap(), "{key}");
    }
}

#[test]
fn a_list_is_written_as_zbus_writes_it() {
    let context = Context::new(Endian::native(), 0);
    let mut events = vec![Event::default(), full()];
    for length in 0..40 {
        let mut event = full();
        // So that everything that follows stands at another place.
        event.proc_name = Some("x".repeat(length));
        event.args = vec!["y".repeat(length / 3); length % 4];
        event.parents = vec![(7, "z".repeat(length / 2)); length % 3];
        event.proc_path_raw = Some(vec![0xff; length / 5]);
        event.user_name = (length % 2 == 0).then(|| "ä".repeat(length));
        events.push(event);
        let mut list = EventList::default();
        assert!(events.iter().all(|event| list.push_within(usize::MAX, event)));
        assert_eq!(to_bytes(context, &list).unwrap().bytes(), to_bytes(context, &events).unwrap().bytes(), "{length}");
        let (list, plain) = ((list, 7u64), (&events, 7u64));
        assert_eq!(to_bytes(context, &list).unwrap().bytes(), to_bytes(context, &plain).unwrap().bytes(), "{length}");
    }
}

#[test]
fn a_list_is_not_longer_than_it_may_be() {
    let context = Context::new(Endian::native(), 0);
    let mut list = EventList::default();
    let taken = (0..100).filter(|_| list.push_within(5000, &full())).count();
    let bytes = to_bytes(context, &list).unwrap();
    assert!(taken > 1 && bytes.len() <= 4 + 5000 && bytes.len() * (taken + 1) > 5000 * taken);
    assert_eq!(bytes.deserialize::<Vec<Event>>().unwrap().0, vec![full(); taken]);
}

#[test]
fn keys_are_sent_in_their_order_and_only_once() {
    let json = serde_json::to_string(&full()).unwrap();
    let positions = Event::KEYS.iter().map(|(key, _)| json.find(&format!("\"{key}\":")).unwrap());
    assert!(positions.is_sorted());
    assert_eq!(Event::KEYS.iter().map(|(key, _)| key).collect::<HashSet<_>>().len(), Event::KEYS.len());
}

#[test]
fn the_types_are_dictionaries_on_the_bus() {
    for signature in [Event::SIGNATURE, Query::SIGNATURE, Finding::SIGNATURE] {
        assert_eq!(signature.to_string(), "a{sv}");
    }
}

#[test]
fn what_is_absent_is_not_sent() {
    assert!(pairs(&Event::default()).is_empty());
    assert_eq!(serde_json::to_string(&Event::default()).unwrap(), "{}");
    let mut event = Event::default();
    event.success = Some(false);
    event.exit = Some(0);
    event.tty = Some(String::new());
    assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"TTY":"","Success":false,"Exit":0}"#);
}

#[test]
fn json_is_plain_and_comes_back() {
    let json = serde_json::to_value(full()).unwrap();
    assert_eq!(json["Parents"], serde_json::json!([[1, "/sbin/init"], [2, ""]]));
    assert_eq!(json["ProcPathRaw"], serde_json::json!([0, 255, 1]));
    assert_eq!(json["Exit"], serde_json::json!(i64::MIN));
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), full());
    assert_eq!(serde_json::from_str::<Event>(r#"{"Later":[{}],"Pid":1}"#).unwrap().pid, Some(1));
}

#[test]
fn an_event_of_another_version_is_read_as_far_as_it_is_known() {
    let read = event(&HashMap::from([
        ("Pid".to_owned(), 4711u32.into()),
        ("Later".to_owned(), vec![("deep", Variant::from(vec![1u8]))].into()),
        ("Serial".to_owned(), "of another type".into()),
        ("Args".to_owned(), vec![1u32].into()),
        ("Parents".to_owned(), vec![(1u32, 2u32)].into()),
        ("UID".to_owned(), Variant::Variant(Box::new(0u32.into()))),
        ("ProcName".to_owned(), "curl".into()),
    ]));
    let mut expected = Event::default();
    expected.pid = Some(4711);
    expected.proc_name = Some("curl".to_owned());
    assert_eq!(read, expected);
}

#[test]
fn the_size_is_never_less_than_on_the_wire() {
    let lists = [0, 1, 7, 1000];
    let texts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100_000];
    for (key, signature) in Event::KEYS {
        for count in lists {
            for length in texts.into_iter().filter(|length| count * length <= 1_000_000) {
                let text = "x".repeat(length);
                let value = match *signature {
                    "s" => text.into(),
                    "ay" => text.into_bytes().into(),
                    "au" => vec![7u32; count].into(),
                    "as" => vec![text; count].into(),
                    "a(us)" => vec![(1u32, text); count].into(),
                    other => example(other),
                };
                let event = event(&HashMap::from([((*key).to_owned(), value)]));
                assert_size(&event, &format!("{key}, {count} of {length}"));
            }
        }
    }
    assert_size(&full(), "full");
    assert_size(&Event::default(), "empty");
}

/// Wherever in a message it begins.
fn assert_size(event: &Event, what: &str) {
    for position in 0..8 {
        let size = to_bytes(Context::new(LE, position), event).unwrap().len();
        assert!(event.size() >= size, "{what}: {} but takes {size} at {position}", event.size());
        // A bound of no use would be one, too.
        assert!(event.size() <= 2 * size + 64, "{what}: {} but takes {size} at {position}", event.size());
    }
}

fn query(pairs: &[(&str, Variant<'static>)]) -> Result<Query, InvalidQuery> {
    let owned = |value: &Variant<'static>| OwnedVariant::try_from(value).unwrap();
    Query::try_from(pairs.iter().map(|(key, value)| ((*key).to_owned(), owned(value))).collect::<HashMap<_, _>>())
}

#[test]
fn a_query_arrives_as_it_was_sent() {
    let sent = Query::new()
        .pid(1u32)
        .ppid(2u32)
        .uid(3u32)
        .audit_uid(4u32)
        .proc_path("/usr/bin/*")
        .event_type("connect")
        .event_type("send")
        .net_family("inet")
        .protocol("tcp")
        .dst_host("192.0.2.0/24")
        .dst_port(443u16)
        .outcome("failure")
        .unit("a.service")
        .app("firefox")
        .since(5u64)
        .until(6u64)
        .limit(7u32)
        .cursor(8u64);
    let wire = to_bytes(Context::new(LE, 0), &sent).unwrap();
    let pairs: HashMap<String, OwnedVariant> = wire.deserialize().unwrap().0;
    assert_eq!(pairs.len(), Query::KEYS.len());
    assert_eq!(Query::try_from(pairs), Ok(sent));
    assert_eq!(query(&[]), Ok(Query::new()));
    assert_eq!(query(&[("EventType", "bind".into())]), Ok(Query::new().event_type("bind")));
}

#[test]
fn a_query_that_is_none_says_why() {
    let unknown = query(&[("Colour", 1u32.into())]).unwrap_err().to_string();
    assert!(unknown.starts_with(r#"there is no query key "Colour"; there are Pid, PPid, UID, "#), "{unknown}");
    assert!(unknown.ends_with("Limit, Cursor"), "{unknown}");
    for (key, value, expected) in [
        ("Pid", Variant::from("1"), "the query key Pid has type u, not s"),
        ("DstPort", 443u32.into(), "the query key DstPort has type q, not u"),
        ("Since", 1u32.into(), "the query key Since has type t, not u"),
        ("EventType", 1u32.into(), "the query key EventType has type as, not u"),
        ("EventType", vec![1u32].into(), "the query key EventType has type as, not au"),
        ("Unit", Variant::Variant(Box::new("a".into())), "the query key Unit has type s, not v"),
    ] {
        assert_eq!(query(&[(key, value)]).unwrap_err().to_string(), expected);
    }
}

#[test]
fn an_error_repeats_little_of_what_a_caller_wrote() {
    let long = "\u{202e}".repeat(7_000_000);
    let message = query(&[(&long, 1u32.into())]).unwrap_err().to_string();
    assert!(message.chars().count() < 1_500 && message.is_ascii(), "{}", message.len());
}

#[test]
fn text_and_bytes() {
    let table: &[(&[u8], &str, bool)] = &[
        (b"/usr/bin/x", "/usr/bin/x", false),
        ("/prögram".as_bytes(), "/prögram", false),
        (b"a\xffb\xc3", "a\\xffb\\xc3", true),
        (b"bin\0\x01\xff", "bin\\x00\u{1}\\xff", true),
        (b"", "", false),
        (b"\\xff", "\\xff", false),
    ];
    for (bytes, expected, differs) in table {
        assert_eq!(text(bytes), ((*expected).to_owned(), differs.then(|| bytes.to_vec())));
        let mut event = Event::default();
        let (text, raw) = text(bytes);
        (event.proc_path, event.proc_path_raw) = (Some(text), raw);
        assert_eq!(event.program().unwrap().as_os_str().as_encoded_bytes(), *bytes);
    }
}

#[test]
fn a_protocol_is_known_by_its_name_and_number() {
    for (name, number) in [("tcp", 6), ("udp", 17), ("udplite", 136), ("icmp", 1), ("sctp", 132), ("dccp", 33)] {
        let protocol: Protocol = name.parse().unwrap();
        assert_eq!((protocol.name(), Protocol::from_number(number)), (name, Some(protocol)));
    }
    let unknown = "TCP".parse::<Protocol>().unwrap_err();
    assert_eq!(unknown.to_string(), "a protocol is one of tcp, udp, udplite, icmp, sctp, dccp");
}
