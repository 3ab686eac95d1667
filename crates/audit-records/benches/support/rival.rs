//! libauparse, auditd's own library, as a program that reads a stream and asks for every field; and how two compare that were
//! timed in turn.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Its program: `tests/auparse.c`.
pub(crate) struct Auparse(PathBuf);

impl Auparse {
    /// Compiles it; says so where `gcc` or `libauparse-dev` is missing, and what it is compared with goes without it.
    pub(crate) fn build() -> Option<Self> {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("auparse-bench");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-x", "c", "-", "-lauparse", "-o"]).arg(&program).stdin(Stdio::piped()).stderr(Stdio::null());
        let built = gcc.spawn().ok().is_some_and(|mut gcc| {
            let _ = gcc.stdin.take().unwrap().write_all(include_bytes!("../../tests/auparse.c"));
            gcc.wait().unwrap().success()
        });
        if !built {
            println!("libauparse is left out: gcc and libauparse-dev are needed (scripts/setup test)");
        }
        built.then_some(Self(program))
    }

    /// The processor time that it takes for so many passes over a file, once that is read.
    pub(crate) fn time(&self, file: &Path, passes: u32) -> Duration {
        let output = Command::new(&self.0).arg("time").arg(file).arg(passes.to_string()).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        Duration::from_nanos(output.split(' ').next().unwrap().parse().unwrap()) * passes
    }
}

/// How many times as long `of` takes as `to`, round by round; the median.
pub(crate) fn ratio(of: &[Duration], to: &[Duration]) -> f64 {
    let mut ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| of.div_duration_f64(*to)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}
