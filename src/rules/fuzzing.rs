//! The way in for fuzz targets (`fuzz/`); built only by cargo-fuzz.

use std::sync::LazyLock;

use super::{Key, Machine, RuleSet, Scope, Status, wire};

static SET: LazyLock<RuleSet> = LazyLock::new(|| {
    let scope = Scope { local: false, execve: true, sends: true };
    RuleSet::wanted(Machine::X86_64, Key::default(), scope, 0)
});

/// Reads what the kernel says of its status, or of a rule: which is ours only if it is, byte for byte, what we write.
pub fn read(payload: &[u8]) {
    let _ = (Status::decode(payload), wire::silences_everything(payload));
    if let Some(rule) = SET.ours(payload) {
        assert_eq!(rule.encode(), payload);
    }
}
