//! A server's process: started, waited for, what it has cost so far, and gone when it is dropped.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

/// The kernel counts processor time in ticks; to programs it always shows a hundred in a second.
const TICK: Duration = Duration::from_millis(10);

/// How often a process that is to come up or to end is looked at, and how many times.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOKS: u32 = 4000;

/// A running server. What it writes goes to a file, whose end explains its death.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` and waits until it takes connections at `address`.
    pub(crate) async fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        // Our environment could change its configuration behind our back.
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("{name} cannot be started: {command:?}"))?;
        let mut server = Self { name, child, log };
        for _ in 0..LOOKS {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            server.check_alive()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!(
            "{name} does not listen at {address}:\n{}",
            server.last_words()
        );
    }

    /// Fails with its last words when it has died.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.last_words()),
        }
    }

    /// Processor time of all its threads and children so far, in user space and in the kernel.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.processes().into_iter().map(cpu_of).sum()
    }

    /// Resident memory of it and its children, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        self.processes().into_iter().map(memory_of).sum()
    }

    fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut open = vec![self.child.id()];
        while let Some(id) = open.pop() {
            found.push(id);
            let children =
                fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            open.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        found
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(12))
            .map(|line| format!("    {line}\n"))
            .collect()
    }
}

impl Drop for Server {
    /// Asks it to end, because nginx takes its workers with it only then; insists when it does not.
    fn drop(&mut self) {
        let script = format!("kill -TERM {}", self.child.id());
        let _ = Command::new("/bin/sh")
            .args(["-c", &script])
            .stderr(Stdio::null())
            .status();
        for _ in 0..LOOKS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the machine does beside us and our servers, from one moment on.
pub(crate) struct Foreign {
    before: Duration,
}

impl Foreign {
    pub(crate) fn start(servers: &[&Server]) -> anyhow::Result<Self> {
        Ok(Self {
            before: foreign_time(servers)?,
        })
    }

    /// How many processors others kept busy since then.
    pub(crate) fn cores(&self, servers: &[&Server], elapsed: Duration) -> anyhow::Result<f64> {
        let time = foreign_time(servers)?.saturating_sub(self.before);
        Ok(time.as_secs_f64() / elapsed.as_secs_f64())
    }
}

/// An address that is free now.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(listener) => Ok(listener.local_addr()?),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!("no port is free on loopback"),
        Err(error) => Err(error.into()),
    }
}

fn foreign_time(servers: &[&Server]) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")
        .context("the kernel shows no /proc/stat: this needs Linux")?;
    let fields = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1);
    let ticks: Vec<u32> = fields.map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq: all but waiting.
    let busy: u32 = ticks
        .iter()
        .take(7)
        .enumerate()
        .filter(|(at, _)| *at != 3 && *at != 4)
        .map(|(_, n)| n)
        .sum();
    let mut ours = cpu_of(std::process::id())?;
    for server in servers {
        ours += server.cpu()?;
    }
    Ok((TICK * busy).saturating_sub(ours))
}

/// Processor time of this process so far.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_of(std::process::id())
}

fn cpu_of(id: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').with_context(|| path.clone())?;
    let times = fields.split_whitespace().skip(11).take(2);
    Ok(times
        .filter_map(|ticks| ticks.parse::<u32>().ok())
        .map(|ticks| TICK * ticks)
        .sum())
}

fn memory_of(id: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{id}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kibibytes.with_context(|| format!("{path} has no VmRSS"))? * 1024)
}
