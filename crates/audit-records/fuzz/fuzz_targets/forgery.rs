//! Nobody forges: whatever text a program chooses where the kernel or auditd writes it, the events and their subjects are
//! those of harmless text.

#![no_main]

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::Duration;

use audit_records::{Address, Assembler, Event, EventId, EventType, Framer, RuleChange, Subject};
use libfuzzer_sys::fuzz_target;

/// Where a program's text stands, and who escapes it.
const PLACES: usize = 13;
/// The first of the places that nobody escapes; those before it are written by `audit_log_untrustedstring`.
const UNESCAPED: usize = 7;

/// What a forger writes; other text is any bytes.
const WORDS: [&str; 36] = [
    "\ntype=SYSCALL msg=audit(1.000:9): ",
    "type=SYSCALL msg=audit(1.000:9): ",
    "type=SYSCALL msg=audit(1.000:3): ",
    "type=CONFIG_CHANGE msg=audit(1.000:9): ",
    "type=URINGOP msg=audit(1.000:3): uring_op=16 success=yes exit=0 items=0 ppid=1 pid=1 uid=0 key=\"k\"",
    "type=SOCKADDR msg=audit(1.000:3): ",
    "type=EOE msg=audit(1.000:3): ",
    "type=EOE msg=audit(1.000:9): ",
    "type=",
    "node=vm ",
    " msg=audit(",
    "1.000:3): ",
    "arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 items=0 ",
    "ppid=1 pid=1 ",
    "auid=0 uid=0 gid=0 euid=0 ",
    "exe=\"/usr/sbin/sshd\" ",
    "comm=\"sshd\" ",
    " key=\"k\"",
    " key=6B",
    " key=\"other\"",
    " key=(null)",
    " op=remove_rule key=\"k\" list=4 res=1",
    " res=1",
    "saddr=020001BBC00002010000000000000000",
    "subj=",
    "obj=",
    "'",
    "\"",
    " ",
    "=",
    "\x1d",
    "\x1dARCH=x86_64 SYSCALL=connect AUID=\"root\"",
    " AUID=\"root\"",
    "\n",
    "\r",
    "a1[0]=",
];

type Text<'a> = Vec<(u8, &'a [u8])>;

fn text(pieces: &Text<'_>) -> Vec<u8> {
    let pieces =
        pieces.iter().map(|(which, bytes)| WORDS.get(usize::from(*which)).map_or(*bytes, |word| word.as_bytes()));
    // Each is a string of C.
    pieces.flatten().copied().filter(|&byte| byte != 0).take(4096).collect()
}

/// As `audit_log_n_untrustedstring` writes (kernel/audit.c).
fn escaped(text: &[u8]) -> Vec<u8> {
    if text.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'"') {
        [b"\"", text, b"\""].concat()
    } else {
        text.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect()
    }
}

/// Calls of three processes and what came with them; auditd makes newlines spaces.
fn stream(texts: &[Vec<u8>; PLACES]) -> Vec<u8> {
    let place = |at: usize| match &texts[at] {
        text if at < UNESCAPED => escaped(text),
        text => text.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }).collect(),
    };
    let [comm, exe, cwd, name, title, argument, program]: [Vec<u8>; UNESCAPED] = std::array::from_fn(place);
    let [table, label, other_label, message, interpretation, change_label]: [Vec<u8>; PLACES - UNESCAPED] =
        std::array::from_fn(|at| place(UNESCAPED + at));
    let task = |pid: u32, comm: &[u8], exe: &[u8], label: &[u8]| {
        let ids = format!(
            "ppid=1 pid={pid} auid=1000 uid=1000 gid=1000 euid=1000 suid=1000 fsuid=1000 egid=1000 sgid=1000 fsgid=1000 \
             tty=pts0 ses=1 comm="
        );
        [ids.as_bytes(), comm, b" exe=", exe, b" subj=", label].concat()
    };
    let call = "arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 items=0 ";
    let names = "\x1dARCH=x86_64 SYSCALL=connect AUID=\"alice\" UID=\"alice\"";
    let plain = |pid| task(pid, b"\"x\"", b"\"/x\"", b"unconfined");
    let record = |head: &str, parts: &[&[u8]], tail: &str| {
        let mut line = format!("type={head}").into_bytes();
        line.extend(parts.iter().copied().flatten());
        line.extend(tail.bytes());
        line.push(b'\n');
        line
    };
    [
        record(
            "NETFILTER_CFG msg=audit(1.000:2): table=",
            &[&table],
            ":2 family=2 entries=1 op=nft_register_table pid=9 comm=\"nft\"",
        ),
        record(&format!("SYSCALL msg=audit(1.000:2): {call}"), &[&plain(9)], " key=(null)"),
        record("EOE msg=audit(1.000:2): ", &[], ""),
        record(
            &format!("SYSCALL msg=audit(1.000:3): {call}"),
            &[&task(10, &comm, &exe, &label)],
            &format!(" key=\"k\"{names}"),
        ),
        record(
            "SOCKADDR msg=audit(1.000:3): saddr=01002F7800\x1dSADDR={ saddr_fam=local path=",
            &[&interpretation],
            " }",
        ),
        record("CWD msg=audit(1.000:3): cwd=", &[&cwd], ""),
        record(
            "PATH msg=audit(1.000:3): item=0 name=",
            &[&name],
            " inode=7 dev=fe:00 mode=0140777 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL",
        ),
        record("PROCTITLE msg=audit(1.000:3): proctitle=", &[&title], ""),
        record("EOE msg=audit(1.000:3): ", &[], ""),
        record(&format!("SYSCALL msg=audit(1.000:4): {}", call.replace("=42", "=59")), &[&plain(11)], " key=\"k\""),
        record("EXECVE msg=audit(1.000:4): argc=2 a0=", &[&program, b" a1=", &argument], ""),
        record("EOE msg=audit(1.000:4): ", &[], ""),
        record(
            &format!("SYSCALL msg=audit(1.000:5): {call}"),
            &[&task(12, b"\"x\"", b"\"/x\"", &other_label)],
            &format!(" key=\"other\"{names}"),
        ),
        record("EOE msg=audit(1.000:5): ", &[], ""),
        record(
            "USER_CMD msg=audit(1.000:6): pid=9 uid=1000 auid=1000 ses=1 msg='op=x cmd=",
            &[&message],
            " res=success'",
        ),
        record(
            "CONFIG_CHANGE msg=audit(1.000:7): auid=1000 ses=1 subj=",
            &[&change_label],
            " op=add_rule key=\"other\" list=4 res=1",
        ),
        record(&format!("SYSCALL msg=audit(1.000:8): {call}"), &[&plain(13)], " key=\"k\""),
        record("EOE msg=audit(1.000:8): ", &[], ""),
    ]
    .concat()
}

/// All of an event that its text does not choose.
#[derive(Debug, PartialEq)]
struct Seen {
    id: EventId,
    subject: Subject<'static>,
    keys: Vec<Box<[u8]>>,
    address: Option<Address>,
    event_type: Option<EventType>,
    success: Option<bool>,
    exit: Option<i64>,
    inode: Option<u64>,
    count: Option<u32>,
}

fn see(event: &Event<'_>) -> Seen {
    let who = event.who();
    Seen {
        id: event.id(),
        // What the program is called is its own affair, as whom it runs is not.
        subject: Subject { comm: None, exe: None, ..who.subject().into_owned() },
        keys: who.keys(),
        address: event.address(),
        event_type: event.event_type(),
        success: event.success(),
        exit: event.exit(),
        inode: event.file().and_then(|file| file.inode),
        count: event.args().and_then(|args| args.count()),
    }
}

thread_local! {
    /// One for all inputs: its buffer is large.
    static FRAMER: RefCell<Framer> = RefCell::default();
}

/// What stream and rules show, and how many lines were torn.
fn read(bytes: &[u8]) -> (Vec<Seen>, Option<RuleChange>, u64) {
    FRAMER.with_borrow_mut(|framer| {
        framer.reset();
        let before = framer.counts().torn;
        let (seen, change) = read_with(framer, bytes);
        (seen, change, framer.counts().torn - before)
    })
}

fn read_with(framer: &mut Framer, mut bytes: &[u8]) -> (Vec<Seen>, Option<RuleChange>) {
    let mut assembler = Assembler::new("k", false);
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let space = framer.space();
        let taken = space.len().min(bytes.len());
        space[..taken].copy_from_slice(&bytes[..taken]);
        framer.filled(taken);
        bytes = &bytes[taken..];
        while let Some(line) = framer.line() {
            assembler.push(line, Duration::ZERO, &mut |event| seen.push(see(&event)));
        }
    }
    assembler.finish_all(&mut |event| seen.push(see(&event)));
    (seen, assembler.take_rule_change())
}

fn harmless_texts() -> [Vec<u8>; PLACES] {
    std::array::from_fn(|_| b"x".to_vec())
}

/// What is seen of harmless texts.
static HARMLESS: LazyLock<Vec<Seen>> = LazyLock::new(|| {
    let (seen, change, _) = read(&stream(&harmless_texts()));
    assert!(change.is_none());
    seen
});

fuzz_target!(|input: Vec<(u8, Text<'_>)>| {
    let harmless = &*HARMLESS;
    let mut texts = harmless_texts();
    for (place, pieces) in &input {
        texts[usize::from(*place) % PLACES] = text(pieces);
    }
    let (hostile, change, torn) = read(&stream(&texts));
    assert_eq!(change, None, "nobody changed our rules");
    if texts[UNESCAPED..].iter().all(|text| text == b"x") {
        assert_eq!(torn, 0, "what the kernel escapes tears nothing");
    }
    if torn == 0 {
        assert_eq!(hostile, *harmless);
        return;
    }
    // A line that holds a second beginning is thrown away: its record is missing, and nothing is in its place.
    for event in &hostile {
        let known = harmless.iter().find(|known| known.id == event.id);
        let Some(known) = known else { panic!("{event:?} is made up") };
        assert_eq!((event.subject.pid, event.subject.uid), (known.subject.pid, known.subject.uid), "{event:?}");
        assert!(event.address.is_none() || event.address == known.address, "{event:?}");
        assert_eq!(
            (event.event_type, event.success, event.exit),
            (known.event_type, known.success, known.exit),
            "{event:?}"
        );
    }
    for serial in [4, 8] {
        assert!(hostile.iter().any(|event| event.id.serial == serial), "{serial} is gone");
    }
});
