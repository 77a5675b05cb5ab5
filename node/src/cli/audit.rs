//! `audit`: who did what with which right, as a node wrote it down; and whether anybody has changed that since.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail};
use archipel_protocol::canonical;
use archipel_protocol::envelope::Timestamp;
use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::node::{Node, NodeArguments};
use super::{ConfigFile, print};
use crate::audit::{ChainError, Links};
use crate::store::AuditRow;

/// Records that are shown where nobody says how many.
const SHOWN: u32 = 20;
/// Records that are asked for at once while the chain is checked.
const PAGE: u32 = 1000;
/// Records after which checking says how far it is.
const PROGRESS: u64 = 50_000;

const MISSING: &str = "is it a node of Archipel?";

#[derive(Debug, clap::Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows the newest records, or those behind one.
    List {
        /// Go on behind the record with this number.
        #[arg(long, value_name = "NUMBER")]
        after: Option<u64>,
        /// How many, at most 1000.
        #[arg(long, value_name = "COUNT", default_value_t = SHOWN)]
        limit: u32,
        /// Write each record as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Reads the whole chain and checks every link: nobody has changed, added or taken out a record. Prints the number and the
    /// hash of the last one; noted elsewhere, they tell later whether the end was cut off.
    Check {
        /// What an earlier check printed: the chain must still have it.
        #[arg(long, value_name = "NUMBER:HASH")]
        noted: Option<Noted>,
    },
}

/// A place of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Noted {
    seq: u64,
    hash: [u8; 32],
}

impl FromStr for Noted {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "must be a number, a colon and 64 hexadecimal digits";
        let (seq, hash) = text.split_once(':').ok_or(SHAPE)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| SHAPE)?,
            hash: hash_of(hash).ok_or(SHAPE)?,
        })
    }
}

pub(super) async fn audit(audit: Audit, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let node = audit.node.find(file)?;
    match audit.action {
        Action::List { after, limit, json } => list(&node, after, limit, json).await,
        Action::Check { noted } => check(&node, noted.as_ref()).await,
    }
}

async fn list(
    node: &Node,
    after: Option<u64>,
    limit: u32,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let behind = after.map_or(String::new(), |after| format!("&after={after}"));
    let Some(page) = page(node, &format!("limit={limit}{behind}")).await? else {
        return Ok(ExitCode::FAILURE);
    };
    for entry in records(&page) {
        let record = entry.get("record").unwrap_or(&Value::Null);
        print::out(&match as_json {
            true => format!("{}\n", canonical::to_string(record)),
            false => print::harmless(&line(record)).into_owned(),
        })?;
    }
    // Behind the newest there is nothing yet.
    let next = page.get("next").and_then(Value::as_u64);
    if let Some(next) = next.filter(|_| after.is_some() && !as_json) {
        print::error(&format!("more: archipel audit list --after {next}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(node: &Node, noted: Option<&Noted>) -> anyhow::Result<ExitCode> {
    let mut links = Links::default();
    let mut has_noted = noted.is_none_or(|noted| noted.seq == 0);
    loop {
        let before = links.checked().records;
        let Some(page) = page(node, &format!("after={before}&limit={PAGE}")).await? else {
            return Ok(ExitCode::FAILURE);
        };
        for entry in records(&page) {
            let row = row_of(entry).context("the node sent something that is no record")?;
            if let Err(ChainError::BrokenAt { seq }) = links.follow(&row) {
                bail!("the chain is broken at record {seq}: it was changed, added or taken out");
            }
            has_noted |= noted.is_some_and(|noted| (noted.seq, noted.hash) == (row.seq, row.hash));
        }
        let so_far = links.checked().records;
        if so_far / PROGRESS > before / PROGRESS {
            print::error(&format!("{so_far} records so far\n"))?;
        }
        if page.get("next").is_none_or(Value::is_null) {
            break;
        }
    }
    if let Some(noted) = noted.filter(|_| !has_noted) {
        let seq = noted.seq;
        bail!("record {seq} is not what was noted: the chain was cut off, or written anew");
    }
    let checked = links.checked();
    print::out(&format!(
        "unbroken  {}:{}\n",
        checked.records,
        hex::encode(checked.last_hash)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A page of the chain; nothing where the node refused it and said why.
async fn page(node: &Node, query: &str) -> anyhow::Result<Option<Value>> {
    let path = format!("/api/audit?{query}");
    let told = node.ask(Method::GET, &path, Vec::new()).await?;
    if told.is_done() {
        return Ok(Some(told.body));
    }
    told.print_refusal(MISSING)?;
    Ok(None)
}

fn records(page: &Value) -> impl Iterator<Item = &Value> {
    let records = page.get("records").and_then(Value::as_array);
    records.into_iter().flatten()
}

/// The row as it was hashed: records are canonical, so what was read can be written again to the byte.
fn row_of(entry: &Value) -> Option<AuditRow> {
    let record = entry.get("record")?;
    Some(AuditRow {
        seq: record.get("seq")?.as_u64()?,
        at_ms: record.get("at")?.as_u64()?,
        body: canonical::to_string(record).into(),
        hash: hash_of(entry.get("hash")?.as_str()?)?,
    })
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

/// `NUMBER  WHEN  OUTCOME  ACTION`, then whatever else is known.
fn line(record: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let first = ["seq", "at", "outcome", "action"];
    let mut cells: Vec<String> = first
        .map(|name| match record.get(name) {
            Some(at) if name == "at" => when(at).unwrap_or_else(|| text(at)),
            Some(value) => text(value),
            None => "-".to_owned(),
        })
        .to_vec();
    let members = record.as_object().into_iter().flatten();
    let others = members.filter(|(name, _)| !first.contains(&name.as_str()));
    cells.extend(others.map(|(name, value)| format!("{name}={}", text(value))));
    format!("{}\n", cells.join("  "))
}

fn when(at: &Value) -> Option<String> {
    Some(Timestamp::from_unix_ms(at.as_i64()?).ok()?.to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let record = json!({
            "action": "auth.refused", "at": 1_767_225_600_000_u64, "client": "10.0.0.1",
            "outcome": "refused", "reason": "wrong_secret", "seq": 7,
        });
        assert_eq!(
            line(&record),
            "7  2026-01-01T00:00:00.000Z  refused  auth.refused  client=10.0.0.1  reason=wrong_secret\n"
        );
    }

    #[test]
    fn a_noted_place_is_a_number_and_a_hash() {
        let hash = "0f".repeat(32);
        let noted: Noted = format!("12:{hash}").parse().unwrap();
        assert_eq!((noted.seq, noted.hash), (12, [0x0f; 32]));
        for wrong in [
            "",
            "12",
            "12:0f",
            &format!("x:{hash}"),
            &format!("12:{hash}0"),
        ] {
            assert!(wrong.parse::<Noted>().is_err(), "{wrong}");
        }
    }
}
