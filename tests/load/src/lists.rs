//! What a page of tasks costs on a node that keeps few of them and on one that keeps very many.
//!
//! Both nodes are asked in turn, so that whatever disturbs the machine disturbs both.

use std::time::Duration;

use anyhow::{Context, ensure};
use archipel_kit::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::client::{HttpClient, call, client};
use crate::generator::{Generator, Until};
use crate::programs::Programs;
use crate::progress;
use crate::rows::{Row, Servers};
use crate::table::percentiles;

/// Pages of each kind that each node is asked for.
const CALLS: usize = 300;
/// Tasks on each of the pages that lead to the deep one; there are at most a hundred of them.
const PAGE: u64 = 100;

/// Medians of one kind of page, in microseconds.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) kind: &'static str,
    /// Of few tasks.
    pub(crate) few_us: u32,
    /// Of many.
    pub(crate) many_us: u32,
}

/// A node with so many tasks.
struct Filled {
    servers: Servers,
    url: String,
    tasks: u64,
    /// What to ask for each kind of page.
    kinds: Vec<(&'static str, Value)>,
}

/// Fills one node with a hundredth of `tasks` and one with all of them, and asks both for pages.
pub(crate) async fn measure(
    programs: &Programs,
    connections: u16,
    tasks: u64,
    clock: SystemClock,
) -> anyhow::Result<Vec<Pages>> {
    let client = client();
    let mut few = fill(programs, &client, connections, tasks / 100, clock).await?;
    let mut many = fill(programs, &client, connections, tasks, clock).await?;
    let mut pages = Vec::new();
    for (of_few, of_many) in few.kinds.iter().zip(&many.kinds) {
        let (mut few_us, mut many_us) = (Vec::new(), Vec::new());
        for _ in 0..CALLS {
            few_us.push(few.ask(&client, &of_few.1, clock).await?);
            many_us.push(many.ask(&client, &of_many.1, clock).await?);
        }
        let (few_us, many_us) = (percentiles(&mut few_us).0, percentiles(&mut many_us).0);
        let kind = of_few.0;
        progress(&format!("lists    {kind}: {few_us} us, {many_us} us"));
        pages.push(Pages {
            kind,
            few_us,
            many_us,
        });
    }
    few.servers.measured.check_alive()?;
    many.servers.measured.check_alive()?;
    Ok(pages)
}

async fn fill(
    programs: &Programs,
    client: &HttpClient,
    connections: u16,
    tasks: u64,
    clock: SystemClock,
) -> anyhow::Result<Filled> {
    let servers = Row::Lists.start(programs).await?;
    let target = servers.target.clone();
    let url = format!("http://{}{}", target.address, target.path);
    let mut generator = Generator::new(&target, connections, clock);
    let outcome = generator.run(Until::Requests(tasks)).await?;
    progress(&format!(
        "lists    {tasks} tasks after {} s",
        outcome.elapsed.as_secs()
    ));
    let (mut page, mut behind) = (json!({"pageSize": PAGE}), 0);
    let mut result = call(client, &url, "ListTasks", &page).await?;
    let status = result.pointer("/tasks/0/status/timestamp").cloned();
    while behind < tasks / 2 && behind < 100 * PAGE {
        page = json!({"pageSize": PAGE, "pageToken": result.get("nextPageToken")});
        result = call(client, &url, "ListTasks", &page).await?;
        behind += PAGE;
    }
    let middle = result.pointer("/tasks/0/contextId").cloned();
    let token = result.get("nextPageToken").cloned();
    let size = 50;
    let kinds = vec![
        ("first page", json!({"pageSize": size})),
        ("deep page", json!({"pageSize": size, "pageToken": token})),
        (
            "by state",
            json!({"pageSize": size, "status": "TASK_STATE_COMPLETED"}),
        ),
        (
            "by conversation",
            json!({"pageSize": size, "contextId": middle}),
        ),
        (
            "by time",
            json!({"pageSize": size, "statusTimestampAfter": status}),
        ),
        (
            "with artifacts",
            json!({"pageSize": size, "includeArtifacts": true}),
        ),
    ];
    Ok(Filled {
        servers,
        url,
        tasks,
        kinds,
    })
}

impl Filled {
    /// How long the page took, in microseconds.
    async fn ask(
        &self,
        client: &HttpClient,
        params: &Value,
        clock: SystemClock,
    ) -> anyhow::Result<u32> {
        let begun = clock.monotonic();
        let page = call(client, &self.url, "ListTasks", params).await?;
        let took: Duration = clock.monotonic().saturating_sub(begun);
        let total = page.get("totalSize").and_then(Value::as_u64);
        let tasks = page.get("tasks").and_then(Value::as_array);
        let tasks = tasks.context("a page without tasks")?.len() as u64;
        let is_all = total == Some(self.tasks) && tasks == 50;
        let is_part = total.is_some_and(|total| total < self.tasks && tasks == total.min(50));
        ensure!(
            is_all || is_part,
            "a wrong page: {tasks} of {total:?} tasks"
        );
        Ok(u32::try_from(took.as_micros())?)
    }
}
