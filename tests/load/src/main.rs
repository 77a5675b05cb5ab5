//! The benchmark: our servers beside their peers, in one run and one table.
//!
//! It asserts nothing about time; it fails when a server answers wrongly. Everything listens on loopback and is gone
//! afterwards. Read `rows` (what is measured and how it is started), `process` (what a process costs), `generator` (who
//! asks), then the measurements of another kind, `growth`, `stream`, `lists`, `idle`, `rest`, `verify` and `beside` (the bus
//! and the WAN beside the raw clients of their brokers), and `table` (what is printed).
//! The whole table takes about ten minutes.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use archipel_kit::clock::SystemClock;
use clap::Parser;
use tokio::task::LocalSet;

use crate::beside::Work;
use crate::generator::{Generator, Until};
use crate::process::Foreign;
use crate::programs::Programs;
use crate::rows::{Asks, Row, Target};
use crate::table::{Measured, Table};

mod beside;
mod client;
mod generator;
mod growth;
mod idle;
mod lists;
mod process;
mod programs;
mod rest;
mod rows;
mod stream;
mod table;
mod verify;

/// Parts of the node run here, too, with the allocator that they have in a node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Before every measurement a server is loaded for this long: connections open, pools fill, memory is touched.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures our servers beside their peers and prints one Markdown table. Build it with --release: it builds the
/// servers in its own profile.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Arguments {
    /// How long each server is loaded in each round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Connections that ask at once; each waits for its answer before it asks again.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Rounds over all rows; the table shows medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Which rows; all if none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Tasks of the row `growth`.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(10..))]
    tasks: u64,
    /// Events of the row `stream`, for each way through the mesh.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(10..))]
    events: u64,
    /// Tasks of the row `lists` on the node that has many; the other one has a hundredth.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(20_000..=10_000_000))]
    listed: u64,
    /// Watchers of the row `watchers`.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=15_000))]
    watchers: u64,
    /// Tasks of the row `waiting`.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    waiting: u64,
    /// Idle streams of the row `gateway-rest`. Each takes two descriptors of the gateway, which the machine must allow.
    #[arg(long, default_value_t = 9_900, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    streams: u64,
    /// Messages of the rows `bus`, `bus-redis` and `bus-nats`, on each way and in each round.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    messages: u32,
    /// Envelopes of the row `wan`, on each way and in each round.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    envelopes: u32,
    /// Measure the programs as they are, beside this one.
    #[arg(long)]
    no_build: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: what the generator takes is then at most one processor, and it can be told from what others take.
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| LocalSet::new().block_on(&runtime, run(&arguments)))
        .and_then(|table| Ok(write!(io::stdout(), "{table}")?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<Table> {
    let needs_programs = |row: &Row| !Row::BESIDE.contains(row);
    let builds = arguments.rows.is_empty() || arguments.rows.iter().any(needs_programs);
    let programs = Programs::provide(builds && !arguments.no_build)?;
    let clock = SystemClock::new();
    let mut table = Table::new(arguments.connections, arguments.seconds, arguments.rounds);
    let wanted = |row: &Row| arguments.rows.is_empty() || arguments.rows.contains(row);
    let loaded: Vec<Row> = Row::LOADED
        .into_iter()
        .filter(wanted)
        .filter(|row| can_run(*row, &programs))
        .collect();
    // In turn and again, because the machine is shared: what disturbs a minute then disturbs every row.
    for round in 1..=arguments.rounds {
        for row in &loaded {
            let measured = measure(*row, &programs, arguments, clock).await?;
            progress(&format!("round {round}  {:<15} {measured}", row.name()));
            table.add(*row, measured);
        }
    }
    compare(arguments, &mut table, wanted, clock).await?;
    if wanted(&Row::Verify) {
        table.verified(verify::measure(clock)?);
    }
    if wanted(&Row::Growth) {
        table.growth(
            growth::measure(&programs, arguments.connections, arguments.tasks, clock).await?,
        );
    }
    if wanted(&Row::Stream) {
        table.streams(stream::measure(&programs, arguments.events, clock).await?);
    }
    if wanted(&Row::Lists) {
        let (connections, tasks) = (arguments.connections, arguments.listed);
        table.lists(
            tasks,
            lists::measure(&programs, connections, tasks, clock).await?,
        );
    }
    if wanted(&Row::Watchers) {
        let idlers = idle::watchers(&programs, arguments.watchers).await?;
        table.idlers(Row::Watchers, idlers);
    }
    if wanted(&Row::GatewayRest) {
        table.rest(rest::measure(&programs, arguments.streams, clock).await?);
    }
    if wanted(&Row::Waiting) {
        let (connections, tasks) = (arguments.connections, arguments.waiting);
        let idlers = idle::waiting(&programs, connections, tasks, clock).await?;
        table.idlers(Row::Waiting, idlers);
    }
    Ok(table)
}

/// The rows beside the raw clients of brokers, in turn and again like the others.
async fn compare(
    arguments: &Arguments,
    table: &mut Table,
    wanted: impl Fn(&Row) -> bool,
    clock: SystemClock,
) -> anyhow::Result<()> {
    let work = Work {
        messages: arguments.messages as usize,
        envelopes: arguments.envelopes as usize,
    };
    for round in 1..=arguments.rounds {
        for row in Row::BESIDE.into_iter().filter(&wanted) {
            for compared in beside::measure(row, work, clock).await? {
                progress(&format!("round {round}  {compared}"));
                table.compared(compared);
            }
        }
    }
    Ok(())
}

/// Makes the one call that a limit allows, so that all others are denied.
async fn use_up(target: &Target, clock: SystemClock) -> anyhow::Result<()> {
    let allowed = Target {
        asks: Asks::Anything,
        ..target.clone()
    };
    Generator::new(&allowed, 1, clock)
        .run(Until::Requests(1))
        .await?;
    Ok(())
}

fn can_run(row: Row, programs: &Programs) -> bool {
    let can = !row.is_nginx() || programs.nginx.is_some();
    if !can {
        progress("nginx is not installed: its rows are left out");
    }
    can
}

/// Starts the row's server afresh, so that no row inherits the memory of the one before.
async fn measure(
    row: Row,
    programs: &Programs,
    arguments: &Arguments,
    clock: SystemClock,
) -> anyhow::Result<Measured> {
    let mut servers = row.start(programs).await?;
    rows::until_taken(&servers).await?;
    let mut generator = Generator::new(&servers.target, arguments.connections, clock);
    if servers.target.asks == Asks::Denial {
        use_up(&servers.target, clock).await?;
    }
    let time = Duration::from_secs(arguments.seconds);
    generator.prepare(WARM_UP + time)?;
    generator.run(Until::Time(WARM_UP)).await?;
    let foreign = Foreign::start(&servers.all())?;
    let cpu_before = servers.measured.cpu()?;
    let until = row
        .pace()
        .map_or(Until::Time(time), |pace| Until::Paced(time, pace));
    let outcome = generator.run(until).await?;
    let cpu = servers.measured.cpu()?.saturating_sub(cpu_before);
    let foreign = foreign.cores(&servers.all(), outcome.elapsed)?;
    servers.measured.check_alive()?;
    if outcome.waits_us.is_empty() {
        bail!(
            "{} answered nothing within {} seconds",
            row.name(),
            arguments.seconds
        );
    }
    Ok(Measured::new(
        outcome,
        cpu,
        servers.measured.memory()?,
        foreign,
    ))
}

/// Says on standard error how far it has come.
fn progress(line: &str) {
    // Whoever closed standard error does not want to know.
    let _ = writeln!(io::stderr(), "{line}");
}
