//! What a node's memory and its answers come to over very many tasks: it keeps a bounded number of them, so both should
//! stay as they are.

use archipel_kit::clock::SystemClock;

use crate::generator::{Generator, Until};
use crate::programs::Programs;
use crate::progress;
use crate::rows::Row;
use crate::table::percentiles;

/// After so many tasks.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) tasks: u64,
    /// Resident, in bytes.
    pub(crate) memory: u64,
    /// Of the tasks since the mark before.
    pub(crate) p99_us: u32,
}

/// Runs `tasks` tasks on a node with its store in memory and looks at a tenth, a fifth, half and all of them.
pub(crate) async fn measure(
    programs: &Programs,
    connections: u16,
    tasks: u64,
    clock: SystemClock,
) -> anyhow::Result<Vec<Mark>> {
    let mut servers = Row::Growth.start(programs).await?;
    let mut generator = Generator::new(&servers.target, connections, clock);
    let mut growth = vec![Mark {
        tasks: 0,
        memory: servers.measured.memory()?,
        p99_us: 0,
    }];
    let mut done = 0;
    for mark in [tasks / 10, tasks / 5, tasks / 2, tasks] {
        let mut outcome = generator.run(Until::Requests(mark - done)).await?;
        done = mark;
        let (_, p99_us) = percentiles(&mut outcome.waits_us);
        servers.measured.check_alive()?;
        let memory = servers.measured.memory()?;
        progress(&format!(
            "growth   {done} tasks: {} KiB, p99 {p99_us} us",
            memory / 1024
        ));
        growth.push(Mark {
            tasks: done,
            memory,
            p99_us,
        });
    }
    Ok(growth)
}
