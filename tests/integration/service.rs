//! Events arrive and are answered for.

use crate::support::{Records, World};

#[test]
fn an_event_arrives_and_is_told() {
    let Some(mut world) = World::start("") else { return };
    let connect = Records::connect(443);
    world.auditd.send(connect.text());
    let event = world.root().wait_for_event_of(connect.pid);
    assert_eq!(event["EventType"], "connect");
    assert_eq!(event["DstHost"], "127.0.0.1");
    assert_eq!(event["DstPort"], 443);
    assert_eq!(event["ProcPath"], "/usr/bin/client");
}
