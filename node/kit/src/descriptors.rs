//! How many descriptors the process may have open: sockets and files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit that holds to the highest that the process may set itself, and tells it; `None`: there is none. Each
/// connection takes a descriptor, and what systems begin with (1,024) is meant for programs that have few.
///
/// # Errors
/// When the system refuses; the limit that held still does.
pub fn raise_limit() -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(maximum)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_highest_limit_holds_afterwards() {
        let told = raise_limit().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((current, told), (maximum, maximum));
    }
}
