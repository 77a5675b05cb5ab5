//! What is printed: one Markdown table of medians over the rounds, with ratios taken inside each round.

use std::fmt;
use std::time::Duration;

use crate::beside::Compared;
use crate::generator::Outcome;
use crate::growth::Mark;
use crate::idle::Idlers;
use crate::lists::Pages;
use crate::rest::Rest;
use crate::rows::Row;
use crate::stream::Delays;
use crate::verify::Verified;

/// One row in one round.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    rate: f64,
    /// Processor time of the server for one request, in microseconds.
    cpu_us: f64,
    p50_us: u32,
    p99_us: u32,
    memory: u64,
    /// Processors that others kept busy meanwhile.
    foreign: f64,
}

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Table {
    caption: String,
    rows: Vec<(Row, Vec<Measured>)>,
    growth: Vec<Mark>,
    streams: Vec<Delays>,
    /// With the number of tasks of the node that has many.
    lists: (u64, Vec<Pages>),
    idlers: Vec<(Row, Idlers)>,
    rest: Option<Rest>,
    verified: Vec<Verified>,
    beside: Vec<(&'static str, Vec<Compared>)>,
}

impl Measured {
    pub(crate) fn new(mut outcome: Outcome, cpu: Duration, memory: u64, foreign: f64) -> Self {
        let requests = outcome.waits_us.len() as f64;
        let (p50_us, p99_us) = percentiles(&mut outcome.waits_us);
        Self {
            rate: requests / outcome.elapsed.as_secs_f64(),
            cpu_us: cpu.as_secs_f64() * 1e6 / requests,
            p50_us,
            p99_us,
            memory,
            foreign,
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rate,
            cpu_us,
            p50_us,
            p99_us,
            memory,
            foreign,
        } = self;
        let mebibytes = mebibytes(*memory);
        write!(
            f,
            "{rate:>7.0}/s  {cpu_us:>6.1} us CPU  p50 {p50_us:>5} us  p99 {p99_us:>6} us  {mebibytes:>6.1} MiB  \
             foreign {foreign:.2}"
        )
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, ours, raw } = self;
        write!(f, "{what}: {ours:.0}/s")?;
        match raw {
            Some(raw) => write!(f, ", raw {raw:.0}/s, {:.2} x", ours / raw),
            None => Ok(()),
        }
    }
}

impl Table {
    pub(crate) fn new(connections: u16, seconds: u64, rounds: u16) -> Self {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let caption = format!(
            "{connections} connections, {rounds} rounds of {seconds} s in turn, medians; {processors} processors shared \
             with the generator."
        );
        Self {
            caption,
            rows: Vec::new(),
            growth: Vec::new(),
            streams: Vec::new(),
            lists: (0, Vec::new()),
            idlers: Vec::new(),
            rest: None,
            verified: Vec::new(),
            beside: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: Row, measured: Measured) {
        match self.rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, rounds)) => rounds.push(measured),
            None => self.rows.push((row, vec![measured])),
        }
    }

    pub(crate) fn lists(&mut self, tasks: u64, pages: Vec<Pages>) {
        self.lists = (tasks, pages);
    }

    pub(crate) fn verified(&mut self, verified: Vec<Verified>) {
        self.verified = verified;
    }

    pub(crate) fn compared(&mut self, compared: Compared) {
        let what = compared.what;
        match self.beside.iter_mut().find(|(known, _)| *known == what) {
            Some((_, rounds)) => rounds.push(compared),
            None => self.beside.push((what, vec![compared])),
        }
    }

    pub(crate) fn idlers(&mut self, row: Row, idlers: Idlers) {
        self.idlers.push((row, idlers));
    }

    pub(crate) fn rest(&mut self, rest: Rest) {
        self.rest = Some(rest);
    }

    pub(crate) fn growth(&mut self, growth: Vec<Mark>) {
        self.growth = growth;
    }

    pub(crate) fn streams(&mut self, streams: Vec<Delays>) {
        self.streams = streams;
    }

    fn rounds(&self, row: Row) -> &[Measured] {
        self.rows
            .iter()
            .find(|(known, _)| *known == row)
            .map_or(&[], |(_, rounds)| rounds)
    }

    /// CPU for one request and requests in a second against the row's peer: the medians of the rounds' ratios, for the
    /// machine's speed changes from round to round.
    fn ratio(&self, row: Row) -> String {
        let Some(peer) = row.peer() else {
            return String::new();
        };
        let ratio = |value: fn(&Measured) -> f64| {
            let rounds = self.rounds(row).iter().zip(self.rounds(peer));
            median(
                rounds
                    .map(|(own, peers)| value(own) / value(peers))
                    .collect(),
            )
        };
        if row.pace().is_some() {
            return self.added(row, peer).map_or_else(String::new, |added| {
                format!("adds {added:.2} x the p50 of {}", peer.name())
            });
        }
        match (ratio(|round| round.cpu_us), ratio(|round| round.rate)) {
            (Some(cpu), Some(rate)) => {
                format!("{cpu:.2} x {}, {rate:.2} x its rate", peer.name())
            }
            _ => String::new(),
        }
    }
}

impl Table {
    /// What a row adds to the p50 of the upstream alone, against what its peer adds.
    fn added(&self, row: Row, peer: Row) -> Option<f64> {
        let direct = self.rounds(Row::UpstreamPaced);
        let rounds = self.rounds(row).iter().zip(self.rounds(peer)).zip(direct);
        median(
            rounds
                .map(|((own, peers), direct)| {
                    let added =
                        |round: &Measured| f64::from(round.p50_us) - f64::from(direct.p50_us);
                    added(own) / added(peers)
                })
                .collect(),
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.caption)?;
        writeln!(
            f,
            "| | requests/s | CPU us/request | CPU ratio | p50 ms | p99 ms | memory MiB | foreign cores |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for (row, rounds) in &self.rows {
            let of = |value: fn(&Measured) -> f64| {
                median(rounds.iter().map(value).collect()).unwrap_or_default()
            };
            writeln!(
                f,
                "| {} | {:.0} | {:.1} | {} | {:.2} | {:.2} | {:.1} | {:.2} |",
                row.title(),
                of(|round| round.rate),
                of(|round| round.cpu_us),
                self.ratio(*row),
                of(|round| f64::from(round.p50_us) / 1e3),
                of(|round| f64::from(round.p99_us) / 1e3),
                of(|round| mebibytes(round.memory)),
                of(|round| round.foreign),
            )?;
        }
        self.write_growth(f)?;
        for delays in &self.streams {
            line_of_stream(f, "every event", delays.way, &delays.every_us)?;
            line_of_stream(f, "first event of a stream", delays.way, &delays.first_us)?;
        }
        self.write_lists(f)?;
        self.write_idlers(f)?;
        self.write_rest(f)?;
        self.write_verified(f)?;
        self.write_beside(f)
    }
}

impl Table {
    fn write_growth(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.growth.is_empty() {
            return Ok(());
        }
        let of = |value: fn(&Mark) -> String| {
            let values: Vec<String> = self.growth.iter().map(value).collect();
            values.join(" / ")
        };
        writeln!(
            f,
            "| {}: {} | | | | | {} | {} | |",
            Row::Growth.title(),
            of(|mark| mark.tasks.to_string()),
            of(|mark| format!("{:.1}", f64::from(mark.p99_us) / 1e3)),
            of(|mark| format!("{:.0}", mebibytes(mark.memory))),
        )
    }

    fn write_lists(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tasks, pages) = &self.lists;
        for page in pages {
            writeln!(
                f,
                "| {}, {}, of {} / {tasks} | | | {:.2} x the time | {:.2} / {:.2} | | | |",
                Row::Lists.title(),
                page.kind,
                tasks / 100,
                f64::from(page.many_us) / f64::from(page.few_us),
                f64::from(page.few_us) / 1e3,
                f64::from(page.many_us) / 1e3,
            )?;
        }
        Ok(())
    }

    fn write_idlers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, idlers) in &self.idlers {
            writeln!(
                f,
                "| {}: {}, {:.1} KiB each | | | | | | {:.1} | |",
                row.title(),
                idlers.number,
                idlers.growth as f64 / 1024.0 / idlers.number as f64,
                mebibytes(idlers.memory),
            )?;
        }
        Ok(())
    }

    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rest) = &self.rest else {
            return Ok(());
        };
        writeln!(
            f,
            "| {}: serves after {:.1} ms, {:.1} MiB then; {} idle streams | | | | | | {:.1} | |",
            Row::GatewayRest.title(),
            rest.start.as_secs_f64() * 1e3,
            mebibytes(rest.idle),
            rest.streams,
            mebibytes(rest.with_streams),
        )
    }

    fn write_beside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, rounds) in &self.beside {
            let of = |value: fn(&Compared) -> Option<f64>| {
                median(rounds.iter().filter_map(value).collect())
            };
            let ours = of(|round| Some(round.ours)).unwrap_or_default();
            let ratio = of(|round| Some(round.ours / round.raw?));
            let ratio = ratio
                .zip(of(|round| round.raw))
                .map_or_else(String::new, |(ratio, raw)| {
                    format!("{ratio:.2} x the raw client's {raw:.0}/s")
                });
            writeln!(f, "| {what} | {ours:.0} | | {ratio} | | | | |")?;
        }
        Ok(())
    }

    fn write_verified(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Verified { algorithm, rate } in &self.verified {
            let (title, microseconds) = (Row::Verify.title(), 1e6 / rate);
            writeln!(
                f,
                "| {title}, {algorithm}, on one core | {rate:.0} | {microseconds:.1} | | | | | |"
            )?;
        }
        Ok(())
    }
}

fn line_of_stream(
    f: &mut fmt::Formatter<'_>,
    which: &str,
    way: &str,
    delays_us: &[u32],
) -> fmt::Result {
    let (p50, p99) = percentiles(&mut delays_us.to_vec());
    let (title, p50, p99) = (
        Row::Stream.title(),
        f64::from(p50) / 1e3,
        f64::from(p99) / 1e3,
    );
    writeln!(
        f,
        "| {title} through {way}, {which} | | | | {p50:.2} | {p99:.2} | | |"
    )
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The values that half and 99 of 100 are not above; 0 of none.
pub(crate) fn percentiles(values: &mut [u32]) -> (u32, u32) {
    values.sort_unstable();
    let at = |percent: usize| {
        let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
        values.get(rank).copied().unwrap_or_default()
    };
    (at(50), at(99))
}

/// The middle value; the mean of both middle ones where there are two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let (lower, upper) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values.get(lower)? + values.get(upper)?) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{median, percentiles};

    #[test]
    fn percentiles_are_values_that_occurred() {
        for (mut values, expected) in [
            (vec![], (0, 0)),
            (vec![7], (7, 7)),
            (vec![2, 1], (1, 2)),
            ((1..=100).rev().collect(), (50, 99)),
            ((1..=1000).collect(), (500, 990)),
        ] {
            assert_eq!(percentiles(&mut values), expected, "{values:?}");
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![4.0, 1.0], Some(2.5)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
        ] {
            assert_eq!(median(values.clone()), expected, "{values:?}");
        }
    }
}
