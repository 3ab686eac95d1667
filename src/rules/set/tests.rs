//! The rule sets of every machine, and who owns what the kernel lists.

use proptest::prelude::*;

use super::*;
use crate::netlink::word;

const MACHINES: [Machine; 6] =
    [Machine::X86_64, Machine::Aarch64, Machine::Arm, Machine::Riscv64, Machine::Ppc64le, Machine::Loongarch64];
const EXECVE: Scope = Scope { local: false, execve: true, sends: false };
/// Each rule that there is but those of `local`.
const ALL: Scope = Scope { local: false, execve: true, sends: true };

fn scopes() -> Vec<Scope> {
    let bit = |number: u8, place: u8| number >> place & 1 == 1;
    (0..8).map(|number| Scope { local: bit(number, 2), execve: bit(number, 1), sends: bit(number, 0) }).collect()
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn wanted(machine: Machine, scope: Scope) -> RuleSet {
    RuleSet::wanted(machine, key("k"), scope, 7)
}

/// What stands between the list and the pids.
fn notation(machine: Machine, scope: Scope) -> Vec<String> {
    let tail = |rule: &str| rule.find(" -F pid!=7").map(|at| rule[..at].to_owned());
    wanted(machine, scope).to_string().lines().map(|rule| tail(rule).unwrap()).collect()
}

/// Rules of the `exit` list.
fn exit<const N: usize>(bits: &str, rests: [&str; N]) -> Vec<String> {
    rests.map(|rest| format!("-a always,exit -F arch={bits} -S {rest}")).to_vec()
}

/// Of Fast Opens, with the calls in the order of their numbers.
fn fast_open(bits: &str, calls: &str) -> Vec<String> {
    let flags_last = format!("{calls} -F a3&0x20000000");
    exit(bits, [&flags_last, "sendmsg -F a2&0x20000000"])
}

fn io_uring() -> Vec<String> {
    ["connect", "sendmsg,sendmsg_zc -F saddr_fam=2", "sendmsg,sendmsg_zc -F saddr_fam=10"]
        .map(|rest| format!("-a always,io_uring -S {rest}"))
        .to_vec()
}

#[test]
fn sets_of_every_machine() {
    let narrowed = |bits: &str, sends: &str| {
        let calls = ["socket -F a0=0x2", "socket -F a0=0xA", "connect -F saddr_fam=2", "connect -F saddr_fam=10"];
        [exit(bits, calls), fast_open(bits, sends)].concat()
    };
    let socketcall = |bits| {
        let calls = ["a0=0x1", "a0=0x3 -F saddr_fam=2", "a0=0x3 -F saddr_fam=10"];
        exit(bits, calls.map(|rest| format!("socketcall -F {rest}")).each_ref().map(String::as_str))
    };
    let usual = "sendto,sendmmsg";
    let cases = [
        (
            Machine::X86_64,
            [narrowed("b64", usual), narrowed("b32", "sendmmsg,sendto"), socketcall("b32"), io_uring()].concat(),
        ),
        (Machine::Aarch64, [narrowed("b64", usual), narrowed("b32", usual), io_uring()].concat()),
        (Machine::Arm, [narrowed("b32", usual), io_uring()].concat()),
        (Machine::Riscv64, [narrowed("b64", usual), io_uring()].concat()),
        (Machine::Ppc64le, [narrowed("b64", usual), socketcall("b64"), io_uring()].concat()),
        (Machine::Loongarch64, [narrowed("b64", usual), io_uring()].concat()),
    ];
    for (machine, expected) in cases {
        assert_eq!(notation(machine, Scope::default()), expected, "{machine:?}");
    }
}

#[test]
fn what_is_sent_is_narrowed_in_every_scope() {
    let of_families = |bits: &str, rest: &str| {
        [2, 10, 0].map(|family| format!("-a always,exit -F arch={bits} -S {rest} -F saddr_fam={family}")).to_vec()
    };
    let socketcalls =
        |bits: &str| ["0xB", "0x10", "0x14"].map(|a0| of_families(bits, &format!("socketcall -F a0={a0}"))).concat();
    let usual = "sendto,sendmsg,sendmmsg";
    let cases = [
        (
            Machine::X86_64,
            [of_families("b64", usual), of_families("b32", "sendmmsg,sendto,sendmsg"), socketcalls("b32")].concat(),
        ),
        (Machine::Aarch64, [of_families("b64", usual), of_families("b32", usual)].concat()),
        (Machine::Arm, of_families("b32", usual)),
        (Machine::Riscv64, of_families("b64", usual)),
        (Machine::Ppc64le, [of_families("b64", usual), socketcalls("b64")].concat()),
        (Machine::Loongarch64, of_families("b64", usual)),
    ];
    for (machine, expected) in cases {
        for scope in scopes().into_iter().filter(|scope| scope.sends) {
            let without = notation(machine, Scope { sends: false, ..scope });
            let mut added = notation(machine, scope);
            added.retain(|rule| !without.contains(rule));
            assert_eq!(added, expected, "{machine:?} {scope:?}");
        }
    }
}

#[test]
fn rules_of_a_scope() {
    let expected = [
        exit("b64", ["socket,connect"]),
        fast_open("b64", "sendto,sendmmsg"),
        exit("b64", ["execve,execveat"]),
        exit("b32", ["socket,connect"]),
        fast_open("b32", "sendmmsg,sendto"),
        exit("b32", ["socketcall -F a0=0x1", "socketcall -F a0=0x3", "execve,execveat"]),
        io_uring(),
    ];
    assert_eq!(notation(Machine::X86_64, Scope { local: true, ..EXECVE }), expected.concat());
    let counts: Vec<usize> = scopes().into_iter().map(|scope| notation(Machine::X86_64, scope).len()).collect();
    assert_eq!(counts, [18, 33, 20, 35, 11, 26, 13, 28]);
}

#[test]
fn the_service_and_what_it_starts_are_left_out() {
    for rule in wanted(Machine::X86_64, ALL).rules() {
        let text = rule.to_string();
        let tail = if rule.needs() == Some(Needs::IoUring) { "" } else { " -F ppid!=7" };
        assert!(text.ends_with(&format!(" -F pid!=7{tail} -F key=k")), "{text}");
    }
}

#[test]
fn calls_are_named_in_the_order_of_their_numbers() {
    // As auditctl prints them.
    for machine in MACHINES {
        for rule in scopes().into_iter().flat_map(|scope| wanted(machine, scope).rules) {
            if let Filter::Exit(arch) = rule.filter {
                assert!(rule.calls.is_sorted() && !rule.calls.is_empty(), "{rule}");
                let named = rule.calls.iter().all(|(number, name)| arch.syscall_number(name) == Some(*number));
                assert!(named, "{rule}");
            }
        }
    }
}

/// What the kernel has of a rule: list, set bits of the mask, and fields with their values, in hexadecimal.
fn dump(bytes: &[u8]) -> String {
    let word = |place| word(bytes, place).unwrap();
    let calls = (0..2048).filter(|call| word(3 + call / 32) >> (call % 32) & 1 == 1);
    let calls: Vec<String> = calls.map(|call| call.to_string()).collect();
    let count = usize::try_from(word(2)).unwrap();
    let fields = (0..count).map(|i| format!(" {}/{:x}/{:x}", word(67 + i), word(195 + i) >> 24, word(131 + i)));
    format!("{} {}{} {}", word(0), calls.join(","), fields.collect::<String>(), bytes[1040..].escape_ascii())
}

fn dumps(scope: Scope) -> Vec<String> {
    wanted(Machine::X86_64, scope).rules.iter().map(|rule| dump(&rule.encode())).collect()
}

#[test]
fn bytes_of_each_rule() {
    let expected = [
        "4 41 11/40/c000003e 200/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 41 11/40/c000003e 200/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 42 11/40/c000003e 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 42 11/40/c000003e 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 44,307 11/40/c000003e 203/8/20000000 0/30/7 18/30/7 210/40/1 k",
        "4 46 11/40/c000003e 202/8/20000000 0/30/7 18/30/7 210/40/1 k",
        "4 44,46,307 11/40/c000003e 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 44,46,307 11/40/c000003e 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 44,46,307 11/40/c000003e 113/40/0 0/30/7 18/30/7 210/40/1 k",
        "4 59,322 11/40/c000003e 0/30/7 18/30/7 210/40/1 k",
        "4 359 11/40/40000003 200/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 359 11/40/40000003 200/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 362 11/40/40000003 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 362 11/40/40000003 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 345,369 11/40/40000003 203/8/20000000 0/30/7 18/30/7 210/40/1 k",
        "4 370 11/40/40000003 202/8/20000000 0/30/7 18/30/7 210/40/1 k",
        "4 345,369,370 11/40/40000003 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 345,369,370 11/40/40000003 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 345,369,370 11/40/40000003 113/40/0 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/1 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/3 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/3 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/b 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/b 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/b 113/40/0 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/10 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/10 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/10 113/40/0 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/14 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/14 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/14 113/40/0 0/30/7 18/30/7 210/40/1 k",
        "4 11,358 11/40/40000003 0/30/7 18/30/7 210/40/1 k",
        "7 16 0/30/7 210/40/1 k",
        "7 9,48 113/40/2 0/30/7 210/40/1 k",
        "7 9,48 113/40/a 0/30/7 210/40/1 k",
    ];
    assert_eq!(dumps(ALL), expected);
}

/// They may still be in the kernel when this version starts: nothing is ever taken out of this list.
#[test]
fn what_an_earlier_version_loaded_is_ours() {
    let of_0_1_0 = [
        "4 41 11/40/c000003e 200/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 41 11/40/c000003e 200/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 42 11/40/c000003e 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 42 11/40/c000003e 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 41,42 11/40/c000003e 0/30/7 18/30/7 210/40/1 k",
        "4 59,322 11/40/c000003e 0/30/7 18/30/7 210/40/1 k",
        "4 359 11/40/40000003 200/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 359 11/40/40000003 200/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 362 11/40/40000003 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 362 11/40/40000003 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 359,362 11/40/40000003 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/1 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/3 113/40/2 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/3 113/40/a 0/30/7 18/30/7 210/40/1 k",
        "4 102 11/40/40000003 200/40/3 0/30/7 18/30/7 210/40/1 k",
        "4 11,358 11/40/40000003 0/30/7 18/30/7 210/40/1 k",
        "7 16 0/30/7 210/40/1 k",
    ];
    let known: Vec<String> = scopes().into_iter().flat_map(dumps).collect();
    for rule in of_0_1_0 {
        assert!(known.iter().any(|one| one == rule), "{rule}");
    }
}

#[test]
fn ours_are_those_of_any_run_and_scope() {
    for machine in MACHINES {
        let set = RuleSet::wanted(machine, key("k"), Scope::default(), 7);
        for scope in scopes() {
            for rule in RuleSet::wanted(machine, key("k"), scope, 4_194_303).rules {
                assert_eq!(set.ours(&rule.encode()), Some(rule));
            }
        }
    }
}

#[test]
fn others_under_like_keys_are_foreign() {
    let set = RuleSet::wanted(Machine::X86_64, key("opensnitch"), Scope::default(), 7);
    let raw = |text: &str| Rule { key: Key(text.to_owned()), ..set.rules[0].clone() }.encode();
    assert!(set.ours(&raw("opensnitch")).is_some());
    for text in [
        "opensnitchd",
        "opensnitch2",
        "pensnitch",
        "Opensnitch",
        "opensnitcj",
        "opensnitch\x01k",
        "k\x01opensnitch",
        "",
    ] {
        assert_eq!(set.ours(&raw(text)), None, "{text:?}");
    }
}

#[test]
fn others_under_our_key_are_foreign() {
    let set = wanted(Machine::X86_64, Scope::default());
    let encode = |calls: &[u32], conditions: &[Condition]| wire::encode(wire::LIST_EXIT, calls, conditions, b"k");
    let conditions = set.rules[0].conditions();
    assert!(set.ours(&encode(&[41], &conditions)).is_some());
    let with = |place: usize, condition: Condition| {
        let mut changed = conditions.clone();
        changed[place] = condition;
        encode(&[41], &changed)
    };
    let mut reordered = conditions.clone();
    reordered.swap(0, 1);
    let cases = [
        ("another call", encode(&[49], &conditions)),
        ("one call more", encode(&[41, 49], &conditions)),
        ("one field less", encode(&[41], &conditions[1..])),
        ("one field more", encode(&[41], &[&conditions[..], &conditions[1..2]].concat())),
        ("fields in another order", encode(&[41], &reordered)),
        ("another family", with(1, (Field::Arg0, Op::Equal, 16))),
        ("another comparison", with(1, (Field::Arg0, Op::NotEqual, 2))),
        ("pid and ppid differ", with(2, (Field::Pid, Op::NotEqual, 8))),
        ("another list", wire::encode(wire::LIST_IO_URING, &[41], &conditions, b"k")),
        ("a rule of another machine", RuleSet::wanted(Machine::Arm, key("k"), Scope::default(), 7).rules[0].encode()),
    ];
    for (name, bytes) in cases {
        assert_eq!(set.ours(&bytes), None, "{name}");
    }
}

#[test]
fn without_what_is_not_supported() {
    let set = wanted(Machine::X86_64, Scope::default());
    let unsupported: Vec<Rule> = set.rules.iter().filter(|rule| rule.needs().is_some()).cloned().collect();
    assert_eq!(unsupported.len(), 9);
    let rest = set.without(&unsupported);
    assert!(rest.rules.iter().all(|rule| rule.needs().is_none()));
    assert_eq!(rest.rules.len(), 9);
    assert!(rest.ours(&unsupported[0].encode()).is_some(), "still ours, should one be there");
}

#[test]
fn machines_as_uname_names_them() {
    let cases = [
        ("x86_64", Some(Machine::X86_64)),
        ("aarch64", Some(Machine::Aarch64)),
        ("armv7l", Some(Machine::Arm)),
        ("riscv64", Some(Machine::Riscv64)),
        ("i686", None),
        ("aarch64_be", None),
        ("ppc64le", Some(Machine::Ppc64le)),
        ("ppc64", None),
        ("loongarch64", Some(Machine::Loongarch64)),
        ("s390x", None),
    ];
    for (uname, machine) in cases {
        assert_eq!(Machine::named(uname), machine, "{uname}");
    }
}

#[test]
fn keys() {
    assert_eq!(key("opensnitch").as_str(), "opensnitch");
    assert_eq!(key(&"k".repeat(31)).as_str().len(), 31);
    let cases = [
        ("", KeyError::Empty),
        (&"k".repeat(32), KeyError::TooLong),
        ("a b", KeyError::Character(' ')),
        ("a\x01b", KeyError::Character('\x01')),
        ("käse", KeyError::Character('ä')),
        ("\"k\"", KeyError::Character('"')),
        ("a:b", KeyError::Character(':')),
        ("$(k)", KeyError::Character('$')),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<Key>(), Err(error), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_listed_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..1300)) {
        prop_assert_eq!(wanted(Machine::X86_64, Scope::default()).ours(&bytes), None);
    }

    /// One bit differs: the rule is foreign, unless that makes it another one of ours (family 2 and 10 differ by one).
    #[test]
    fn one_wrong_byte_is_foreign(rule in 0..35_usize, at in 0..1041_usize, bit in 0..8_u32) {
        let set = wanted(Machine::X86_64, ALL);
        let mut bytes = set.rules[rule].encode();
        bytes[at] ^= 1 << bit;
        // Only a rule of a ring has a pid alone.
        let rule = &set.rules[rule];
        let place = rule.conditions().iter().position(|(field, _, _)| *field == Field::Pid).unwrap();
        let another_pid = rule.filter == Filter::IoUring && at >= 524 + 4 * place && at < 528 + 4 * place;
        let another_rule = set.rules.iter().any(|rule| rule.encode() == bytes);
        prop_assert_eq!(set.ours(&bytes).is_some(), another_pid || another_rule);
    }

    #[test]
    fn round_trip(pid: u32, rule in 0..35_usize) {
        let wanted = RuleSet::wanted(Machine::X86_64, key("k"), ALL, pid);
        let rule = &wanted.rules[rule];
        prop_assert_eq!(wanted.ours(&rule.encode()), Some(rule.clone()));
    }
}
