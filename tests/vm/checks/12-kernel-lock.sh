# shellcheck shell=bash
# The one of them that locks the kernel's rules: nothing changes them after that until the next boot.
limit 300

export OPENSNITCH_AUDIT_TEST_LOCK=1
systemctl stop "$UNIT"
check 'the test of rules::live that locks' library_tests immutable_rules_stay
library_tests_passed
