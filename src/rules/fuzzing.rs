//! The way in for fuzz targets (`fuzz/`); built only by cargo-fuzz.

use super::{Key, Machine, RuleSet, Scope, Status, wire};

/// Reads what the kernel says of its status, or of a rule: which is ours only if it is, byte for byte, what we write.
pub fn read(payload: &[u8]) {
    let _ = (Status::decode(payload), wire::silences_everything(payload));
    let scope = Scope { local: false, execve: true, sends: true };
    let set = RuleSet::wanted(Machine::X86_64, Key::default(), scope, 0);
    if let Some(rule) = set.ours(payload) {
        assert_eq!(rule.encode(), payload);
    }
}
