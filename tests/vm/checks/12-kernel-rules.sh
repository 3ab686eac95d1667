# shellcheck shell=bash
# The tests of the kernel's rules (tests/kernel_rules.rs): they need a kernel that they may spoil.

tests_of_rules() {
  OPENSNITCH_AUDIT_TEST_KERNEL=1 timeout 280 kernel_rules --test-threads=1 2>&1 | tee /run/kernel-rules
}

if [ -x "$VM/programs/kernel_rules" ]; then
  limit 300
  systemctl stop "$UNIT"
  check 'tests/kernel_rules.rs' tests_of_rules
  note "$(cat /run/kernel-rules)"
  # Each of its tests is a line of its own as well.
  while read -r name; do say "kernel_rules: $name"; done < <(sed -n 's/^test \(.*\) \.\.\. ok$/\1/p' /run/kernel-rules)
  systemctl start "$UNIT"
else
  skip 'tests/kernel_rules.rs' 'no such test in this tree'
fi
