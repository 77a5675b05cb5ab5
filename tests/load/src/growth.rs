//! What a node's memory comes to over very many tasks: it keeps a bounded number of them, so it should stay flat.

use archipel_kit::clock::SystemClock;

use crate::generator::{Generator, Until};
use crate::programs::Programs;
use crate::progress;
use crate::rows::Row;

/// Tasks so far, and the resident memory in bytes.
pub(crate) type Growth = Vec<(u64, u64)>;

/// Runs `tasks` tasks on a node with its store in memory and looks at a tenth, a fifth, half and all of them.
pub(crate) async fn measure(
    programs: &Programs,
    connections: u16,
    tasks: u64,
    clock: SystemClock,
) -> anyhow::Result<Growth> {
    let mut servers = Row::Growth.start(programs).await?;
    let mut generator = Generator::new(&servers.target, connections, clock);
    let mut growth = vec![(0, servers.measured.memory()?)];
    let mut done = 0;
    for mark in [tasks / 10, tasks / 5, tasks / 2, tasks] {
        generator.run(Until::Requests(mark - done)).await?;
        done = mark;
        servers.measured.check_alive()?;
        let memory = servers.measured.memory()?;
        progress(&format!("growth   {done} tasks: {} KiB", memory / 1024));
        growth.push((done, memory));
    }
    Ok(growth)
}
