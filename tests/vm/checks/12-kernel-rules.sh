# shellcheck shell=bash
# The library's own tests of the kernel's rules (src/rules/live.rs, src/rules/evasion.rs): they need a kernel that they may spoil.
limit 300

# The rules are theirs for the time.
systemctl stop "$UNIT"
check 'the tests of rules::live' library_tests rules::live --skip immutable_rules_stay
library_tests_passed
check 'the table of evasions' library_tests rules::evasion
library_tests_passed
systemctl start "$UNIT"
