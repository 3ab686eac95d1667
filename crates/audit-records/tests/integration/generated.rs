//! Streams as the kernel writes them, of values that no recorded one has.

#![expect(clippy::cast_possible_truncation, reason = "numbers without a pattern have none when cut")]

use std::fmt::Write;

/// Events in one stream.
const EVENTS: u32 = 500;

/// Records, as the kernel's own formats have them. `%u` is any 32-bit number, `%i` a signed one of 64 bits, `%x` one in
/// hexadecimal, `%o` one in octal, `%w` a word, `%a` an address, `%l` a label, `%k` keys, and `%s` whatever text a program
/// chose (`audit_log_untrustedstring`).
const RECORDS: [&str; 9] = [
    "SYSCALL arch=c000003e syscall=%u success=%w exit=%i a0=%x a1=%x a2=%x a3=%x items=%u ppid=%u pid=%u auid=%u uid=%u \
     gid=%u euid=%u suid=%u fsuid=%u egid=%u sgid=%u fsgid=%u tty=%w ses=%u comm=%s exe=%s subj=%l key=%k",
    "URINGOP uring_op=%u success=%w exit=%i items=%u ppid=%u pid=%u uid=%u gid=%u euid=%u suid=%u fsuid=%u egid=%u sgid=%u \
     fsgid=%u subj=%l key=%k",
    "SOCKADDR saddr=%a",
    "SOCKETCALL nargs=3 a0=%x a1=%x a2=%x",
    "EXECVE argc=3 a0=%s a1=%s a2=%s",
    "CWD cwd=%s",
    "PATH item=%u name=%s inode=%u dev=fe:01 mode=0%o ouid=%u ogid=%u rdev=00:00 obj=%l nametype=NORMAL cap_fp=0 cap_fi=0 \
     cap_fe=0 cap_fver=0 cap_frootid=0",
    "PROCTITLE proctitle=%s",
    "EOE ",
];

const WORDS: [&str; 5] = ["yes", "no", "(none)", "pts0", "ttyS0"];
const LABELS: [&str; 3] = ["unconfined", "system_u:system_r:init_t:s0-s0:c0.c1023", "/usr/bin/man//groff"];

/// Numbers without a pattern; the same for the same seed (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Mostly the small and the extreme ones, which are told apart from others.
    fn number(&mut self) -> u64 {
        match self.next() % 4 {
            0 => self.next() % 10,
            1 => u64::MAX - self.next() % 2,
            _ => self.next(),
        }
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[(self.next() % all.len() as u64) as usize]
    }

    /// Text of a program: now and then with what has a meaning in a record.
    fn text(&mut self) -> Vec<u8> {
        let length = 1 + self.next() % 40;
        let bytes: &[u8] = match self.next() % 3 {
            0 => b"abcXYZ019/._-",
            1 => b"ab =\"'()[]{},:\\\x1d\n\r\tkey=type=msg=",
            _ => &[1, 2, 31, 32, 34, 127, 128, 195, 169, 255, b'a', b'A', b'0'],
        };
        (0..length).map(|_| bytes[(self.next() % bytes.len() as u64) as usize]).collect()
    }

    /// As `audit_log_n_untrustedstring` writes it (kernel/audit.c).
    fn untrusted(&mut self) -> String {
        escaped(&self.text())
    }

    fn keys(&mut self) -> String {
        match self.next() % 3 {
            0 => "(null)".to_owned(),
            1 => "\"opensnitch\"".to_owned(),
            _ => escaped(b"one\x01two"),
        }
    }

    fn address(&mut self) -> String {
        let begins = self.one_of(&["0200", "0A00", "0100", "1000", "2800"]);
        let length = 2 + self.next() % 26;
        let bytes: String = (0..length).map(|_| format!("{:02X}", self.next() as u8)).collect();
        begins.to_owned() + &bytes
    }

    fn record(&mut self, format: &str, id: &str) -> String {
        let (name, fields) = format.split_once(' ').unwrap();
        let mut line = format!("type={name} msg=audit({id}): ");
        for (at, piece) in fields.split('%').enumerate() {
            let mut rest = piece.chars();
            let _ = match if at == 0 { None } else { rest.next() } {
                None => Ok(()),
                Some('u') => write!(line, "{}", self.number() as u32),
                Some('i') => write!(line, "{}", self.number().cast_signed()),
                Some('x') => write!(line, "{:x}", self.number()),
                Some('o') => write!(line, "{:o}", self.number() as u16),
                Some('w') => write!(line, "{}", self.one_of(&WORDS)),
                Some('l') => write!(line, "{}", self.one_of(&LABELS)),
                Some('k') => write!(line, "{}", self.keys()),
                Some('a') => write!(line, "{}", self.address()),
                Some('s') => write!(line, "{}", self.untrusted()),
                Some(other) => panic!("%{other}"),
            };
            line.push_str(rest.as_str());
        }
        line
    }
}

fn escaped(text: &[u8]) -> String {
    if text.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'"') {
        format!("\"{}\"", str::from_utf8(text).unwrap())
    } else {
        text.iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

/// A stream; another one for each seed.
pub(crate) fn stream(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut stream = String::new();
    for serial in 1..=EVENTS {
        let id = format!("17000{:05}.{:03}:{serial}", serial / 10, random.next() % 1000);
        let node = if seed.is_multiple_of(2) { "node=vm.example " } else { "" };
        for (nth, format) in RECORDS.iter().enumerate() {
            // The first and the last one are always there.
            if nth == 0 || nth == RECORDS.len() - 1 || random.next().is_multiple_of(2) {
                stream += node;
                stream += &random.record(format, &id);
                stream.push('\n');
            }
        }
    }
    stream.into_bytes()
}
