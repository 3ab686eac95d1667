# shellcheck shell=bash
# The unit's sandbox: as systemd judges it, and as the kernel has it.

exposure() { systemd-analyze security --no-pager "$UNIT" | sed -n 's/.*exposure level for .*: \([0-9.]*\).*/\1/p'; }

not_exposed() {
  matches 'the score' "$score" '^[0-9.]+$'
  awk -v score="$score" 'BEGIN { exit !(score <= 1.4) }' || fail "$score is more than 1.4"
}

verified() {
  local said
  said=$(systemd-analyze verify --man=no "$UNIT" "$SOCKET" "$MULTICAST" 2>&1 | grep -i opensnitch || true)
  equal 'what systemd-analyze verify says' "$said" ''
}

as_the_kernel_has_it() {
  local status
  status=/proc/$(main_pid)/status
  # CAP_SYS_PTRACE is bit 19, CAP_AUDIT_CONTROL bit 30.
  equal 'the bounding set' "$(sed -n 's/^CapBnd:\s*//p' "$status")" 0000000040080000
  equal 'the effective set' "$(sed -n 's/^CapEff:\s*//p' "$status")" 0000000040080000
  equal NoNewPrivs "$(sed -n 's/^NoNewPrivs:\s*//p' "$status")" 1
  equal Seccomp "$(sed -n 's/^Seccomp:\s*//p' "$status")" 2
}

score=$(exposure)
check "systemd-analyze security: $score, at most 1.4" not_exposed
check 'systemd-analyze verify' verified
check 'two capabilities, no new privileges, filtered system calls' as_the_kernel_has_it
