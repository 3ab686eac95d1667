//! Turns what a terminal shows, on standard input, into a picture of it, on standard output: text with colours into SVG.

use std::io::{self, Read, Write};

use anstyle_svg::Term;

fn main() -> io::Result<()> {
    let mut shown = String::new();
    io::stdin().read_to_string(&mut shown)?;
    io::stdout().write_all(Term::new().render_svg(&shown).as_bytes())
}
