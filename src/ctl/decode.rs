//! Audit streams and logs become events, without a service.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use audit_records::{Assembler, Framer};
use opensnitch_audit_client::Event;

use super::Failure;
use super::column::Merged;
use super::journal::Journal;
use super::options::{Appearance, Decode};
use super::screen::Screen;
use super::table::Table;
use crate::dbus::wire;
use crate::source::LINE;
use crate::store::{Source, Store};

/// Processes whose sockets are remembered, to tell the protocol of what they connect: as many as the service has by default.
const PROCESSES: usize = 4096;

/// How compressed files begin, and what reads them.
const COMPRESSED: [(&[u8], &str); 3] = [(b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")];

/// Bytes that tell how a file is compressed.
const MARK: u64 = 6;

/// Reads the files or standard input to their ends, one after the other, in constant memory.
pub(super) fn run(options: &Decode, appearance: &Appearance) -> Result<(), Failure> {
    let mut screen = Screen::open(appearance.no_pager);
    let mut table = Table::new(&mut screen, &appearance.look, Merged::Alike);
    let mut decoder = Decoder::new(&options.key);
    let mut print = |event: &Event| table.row(event);
    let standard_input = [Path::new("-").to_owned()];
    let files = if options.files.is_empty() { &standard_input[..] } else { &options.files };
    for file in files {
        let before = decoder.records();
        if file.as_os_str() == "-" {
            decoder.read(plain(io::stdin().lock())?, &mut print)?;
        } else {
            let unreadable = |error| Failure::File(file.clone(), error);
            let mut input = Input::open(file).map_err(unreadable)?;
            decoder.read(plain(BufReader::new(&mut input)).map_err(unreadable)?, &mut print)?;
            input.close().map_err(unreadable)?;
        }
        if decoder.records() == before {
            table.flush()?;
            return Err(no_records(file));
        }
    }
    decoder.finish(&mut print)?;
    table.flush()?;
    let rows = table.rows();
    screen.close()?;
    for (count, what) in decoder.anomalies() {
        if count > 0 {
            eprintln!("opensnitch-auditctl: {count} {what}");
        }
    }
    if rows == 0 {
        let others = decoder.assembler.counts().assembled;
        return Err(Failure::NoMatch(format!(
            "no event has the key {:?}; there are {others} in all, and --key '' shows them",
            options.key
        )));
    }
    Ok(())
}

fn no_records(file: &Path) -> Failure {
    let name = if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() };
    Failure::NoRecords(format!(
        "{name} holds no audit record. A log has lines as 'type=SYSCALL msg=audit(…): …', auditd's own is \
         /var/log/audit/audit.log; of the journal 'journalctl --output=json _TRANSPORT=audit | opensnitch-auditctl decode -' \
         reads them"
    ))
}

/// Lines of audit's, whatever of them there is.
fn plain<'a>(mut input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let is_journal = input.fill_buf()?.first() == Some(&b'{');
    Ok(if is_journal { Box::new(Journal::new(input)) } else { Box::new(input) })
}

/// A file, by way of a program where it is compressed.
enum Input {
    Plain(File),
    Compressed(Child, &'static str),
}

impl Input {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        // A pipe cannot go back to its beginning: it is read as it is.
        let mut beginning = Vec::new();
        if file.stream_position().is_ok() {
            file.by_ref().take(MARK).read_to_end(&mut beginning)?;
            file.rewind()?;
        }
        let Some((_, program)) = COMPRESSED.iter().find(|(mark, _)| beginning.starts_with(mark)) else {
            return Ok(Self::Plain(file));
        };
        let child = Command::new(program).arg("-dc").stdin(file).stdout(Stdio::piped()).spawn();
        let child =
            child.map_err(|error| io::Error::new(error.kind(), format!("it takes {program} to read it: {error}")))?;
        Ok(Self::Compressed(child, program))
    }

    /// Whether all was read.
    fn close(self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Compressed(mut child, program) => {
                let status = child.wait()?;
                if status.success() { Ok(()) } else { Err(io::Error::other(format!("{program} failed: {status}"))) }
            }
        }
    }
}

impl Read for &mut Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Plain(file) => file.read(buffer),
            Input::Compressed(child, _) => child.stdout.as_mut().map_or(Ok(0), |output| output.read(buffer)),
        }
    }
}

/// Records become events.
struct Decoder {
    framer: Framer,
    assembler: Assembler,
    now: Duration,
    /// As the service has it, but of the history only the last row is needed.
    store: Store,
}

impl Decoder {
    fn new(key: &str) -> Self {
        Self {
            framer: Framer::default(),
            assembler: Assembler::new(key, false),
            now: Duration::ZERO,
            store: Store::new(1, PROCESSES, &[]),
        }
    }

    /// Hands each event to `print` in the order in which they are complete. One that is not at the end may go on in the
    /// next file, as logs that were rotated do.
    fn read(&mut self, mut input: impl Read, print: &mut impl FnMut(&Event) -> io::Result<()>) -> io::Result<()> {
        let Self { framer, assembler, now, store } = self;
        let mut printed = Ok(());
        let mut keep = keeper(store, &mut printed, print);
        framer.reset();
        let mut ended = false;
        while !ended {
            ended = match input.read(framer.space()) {
                Ok(bytes) => {
                    framer.filled(bytes);
                    bytes == 0
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => false,
                Err(error) => return Err(error),
            };
            while let Some(line) = if ended { framer.last_line() } else { framer.line() } {
                *now += LINE;
                assembler.expire(*now, &mut keep);
                assembler.push(line, *now, &mut keep);
            }
        }
        drop(keep);
        printed
    }

    /// The events that are not complete.
    fn finish(&mut self, print: &mut impl FnMut(&Event) -> io::Result<()>) -> io::Result<()> {
        let mut printed = Ok(());
        self.assembler.finish_all(&mut keeper(&self.store, &mut printed, print));
        printed
    }

    fn records(&self) -> u64 {
        self.assembler.counts().parsed
    }

    /// What was not understood.
    fn anomalies(&self) -> [(u64, &'static str); 4] {
        let (stream, events) = (self.framer.counts(), self.assembler.counts());
        [
            (events.malformed + stream.oversized, "lines are no audit records"),
            (stream.torn, "lines are torn"),
            (events.late, "records came after their event was complete"),
            (events.cut, "records or arguments are beyond a bound"),
        ]
    }
}

/// Takes events as the service does, and prints each until printing fails.
fn keeper<'a>(
    store: &'a Store,
    printed: &'a mut io::Result<()>,
    print: &'a mut impl FnMut(&Event) -> io::Result<()>,
) -> impl FnMut(audit_records::Event<'_>) + 'a {
    move |event| {
        let row = store.insert(&event, Source::Audisp, Duration::ZERO, 0);
        if printed.is_ok() {
            *printed = print(&wire::of_records(&row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The serials of the events in a stream, in the order in which they are printed, and how many were whole.
    fn serials(stream: &str) -> (Vec<u32>, usize) {
        let (mut serials, mut whole) = (Vec::new(), 0);
        let mut print = |event: &Event| {
            serials.extend(event.serial);
            // Both records are there.
            whole += usize::from(event.pid.is_some() && event.dst_host.is_some());
            Ok(())
        };
        let mut decoder = Decoder::new("k");
        decoder.read(stream.as_bytes(), &mut print).unwrap();
        decoder.finish(&mut print).unwrap();
        assert!(decoder.anomalies().iter().all(|(count, _)| *count == 0), "{:?}", decoder.anomalies());
        (serials, whole)
    }

    fn syscall(second: u32, serial: u32) -> String {
        format!(
            "type=SYSCALL msg=audit({second}.000:{serial}): arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 \
             items=0 ppid=1 pid={serial} auid=0 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=1 \
             comm=\"c\" exe=\"/c\" subj=unconfined key=\"k\"\n"
        )
    }

    fn sockaddr(second: u32, serial: u32) -> String {
        format!("type=SOCKADDR msg=audit({second}.000:{serial}): saddr=020000097F000001\n")
    }

    fn eoe(second: u32, serial: u32) -> String {
        format!("type=EOE msg=audit({second}.000:{serial}): \n")
    }

    #[test]
    fn a_time_in_a_record_finishes_no_other_event() {
        // A call that blocked for an hour tells when it began; the one beside it is under way meanwhile.
        let (early, late) = (1_000, 4_600);
        let stream = [
            syscall(late, 2),
            syscall(early, 1),
            sockaddr(early, 1),
            syscall(late + 9_000, 3),
            sockaddr(late + 9_000, 3),
            sockaddr(late, 2),
            eoe(early, 1),
            eoe(late, 2),
            eoe(late + 9_000, 3),
        ];
        assert_eq!(serials(&stream.concat()), (vec![1, 2, 3], 3));
    }

    #[test]
    fn events_of_a_log_on_disk_are_whole_and_in_order() {
        // No EOE anywhere; each event's second record comes behind the next one's first.
        let record = |serial: u32| [syscall(1_000, serial + 1), sockaddr(1_000, serial)].concat();
        let stream = syscall(1_000, 1) + &(1..5_000).map(record).collect::<String>() + &sockaddr(1_000, 5_000);
        assert_eq!(serials(&stream), ((1..=5_000).collect(), 5_000));
    }

    #[test]
    fn an_event_whose_end_is_missing_does_not_wait_for_the_end_of_the_stream() {
        let whole = |serial: u32| [syscall(1_000, serial), sockaddr(1_000, serial), eoe(1_000, serial)].concat();
        let first = syscall(1_000, 1) + &sockaddr(1_000, 1);
        let (serials, whole) = serials(&(first + &(2..=2_000).map(whole).collect::<String>()));
        let place = serials.iter().position(|serial| *serial == 1).unwrap();
        assert!((600..700).contains(&place), "{place}");
        assert_eq!((serials.len(), whole), (2_000, 2_000));
    }
}
