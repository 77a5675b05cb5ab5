//! What people see: one line per step, and texts as they come.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};

use crate::report::Step;

const NAME_WIDTH: usize = 18;

/// The terminal, or whatever stands in its place. A reader that went away is no reason to stop.
pub(crate) struct Screen {
    out: RefCell<Box<dyn Write>>,
    /// Whether it understands colours and can take back a line.
    lively: bool,
}

impl Screen {
    /// People read standard output, unless a program does.
    pub(crate) fn new(report_on_stdout: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if report_on_stdout {
            Self {
                lively: !plain && io::stderr().is_terminal(),
                out: RefCell::new(Box::new(io::stderr())),
            }
        } else {
            Self {
                lively: !plain && io::stdout().is_terminal(),
                out: RefCell::new(Box::new(io::stdout())),
            }
        }
    }

    /// Shows nothing.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self {
            lively: false,
            out: RefCell::new(Box::new(io::sink())),
        }
    }

    /// A step has begun; on a terminal its name stands there until it has ended.
    pub(crate) fn begin(&self, name: &str) {
        if self.lively {
            self.put(&format!("  … {name}"));
        }
    }

    pub(crate) fn end(&self, step: &Step) {
        let (mark, colour) = if step.ok {
            ("✓", "\x1b[32m")
        } else {
            ("✗", "\x1b[31m")
        };
        let mark = self.coloured(mark, colour);
        let time = self.coloured(&format!("{:>9.1} ms", step.ms), "\x1b[2m");
        self.line(&format!(
            "{mark} {:<NAME_WIDTH$} {time}  {}",
            step.name,
            plain(&step.detail)
        ));
    }

    /// Text of an agent, as it comes.
    pub(crate) fn quote(&self, text: &str) {
        for line in plain(text).lines() {
            self.line(&format!("    {} {line}", self.coloured("│", "\x1b[36m")));
        }
    }

    pub(crate) fn line(&self, text: &str) {
        let clear = if self.lively { "\r\x1b[K" } else { "" };
        self.put(&format!("{clear}{text}\n"));
    }

    fn coloured(&self, text: &str, colour: &str) -> String {
        if self.lively {
            format!("{colour}{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn put(&self, text: &str) {
        let mut out = self.out.borrow_mut();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Without control characters: what an agent or a process wrote must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_text_does_not_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\r\nc\u{9b}d"), "a [2Jb \nc d");
    }
}
