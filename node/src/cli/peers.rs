//! `peers`: invites, accepts, shows, suspends and revokes peers of a node that runs, over its control plane. `told` has what
//! people read.

use std::io::{self, BufRead, IsTerminal, stdin};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use super::node::{Node, NodeArguments, Told};
use super::{ConfigFile, print};

mod told;

const MISSING: &str = "is control_plane.enabled = true, and is there such a peer?";

#[derive(Debug, clap::Args)]
pub(super) struct Peers {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    node: NodeArguments,
    /// Write what the node answers as one line of JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints an invitation for another node. Whoever holds it can pair, once: hand it over as you would a password.
    Invite {
        /// How the other node will be called here. Without it, by its host.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        terms: Terms,
        /// How long the invitation can be accepted: a number with `m`, `h` or `d`, at most 30d.
        #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "24h")]
        expires: i64,
        /// Let the other node wait until `peers resume` lets it in.
        #[arg(long)]
        confirm: bool,
    },
    /// Shows the invitations that nobody has taken, and withdraws them.
    Invitations {
        #[command(subcommand)]
        action: InvitationAction,
    },
    /// Accepts an invitation: shows whose it is, asks, and makes the two nodes peers of each other.
    Accept {
        /// The line that was handed over; `-` reads it from standard input, which keeps it out of the process list.
        invitation: String,
        /// How the other node will be called here. Without it, by its host.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        terms: Terms,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Shows all peers, wherever they come from.
    List,
    /// Shows one peer.
    Show {
        /// Which peer.
        name: String,
    },
    /// Lets a peer neither call nor be called for a while; its streams end.
    Suspend {
        /// Which peer.
        name: String,
    },
    /// Lets a suspended peer call and be called again.
    Resume {
        /// Which peer.
        name: String,
    },
    /// Takes trust in a peer back for good; its streams end.
    Revoke {
        /// Which peer.
        name: String,
    },
    /// Gives this node a new key. Peers that paired follow by themselves; the others must be told, unless they have `follow_keys`.
    RotateKey {
        /// How long the old key still counts: a number with `s`, `m`, `h` or `d`, at most 90d.
        #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "7d")]
        overlap: i64,
    },
}

#[derive(Debug, Subcommand)]
enum InvitationAction {
    /// Shows them, the one that ends first before the others.
    List,
    /// Withdraws one: whoever holds it cannot pair with it any more.
    Withdraw {
        /// Its id, as `list` shows it.
        id: String,
    },
}

/// What the other node may do here.
#[derive(Debug, clap::Args)]
struct Terms {
    /// Agents that it may see and call. Without it, all.
    #[arg(long, value_name = "ID,..", value_delimiter = ',')]
    agents: Option<Vec<String>>,
    /// Operations that it may ask for, as A2A 1.0 names them. Without it, all.
    #[arg(long, value_name = "METHOD,..", value_delimiter = ',')]
    methods: Option<Vec<String>>,
    /// What it counts as at most: viewer, operator, admin.
    #[arg(long)]
    role: Option<String>,
    /// How often it may call, such as `100/1m`.
    #[arg(long, value_name = "CALLS/TIME", value_parser = limit)]
    limit: Option<Limit>,
    /// The day from which on a warning says that somebody should look whether it is still to be trusted.
    #[arg(long, value_name = "YYYY-MM-DD")]
    review_by: Option<String>,
    /// It may be in a private network: without this, a node that an invitation names is called at public addresses only.
    #[arg(long)]
    allow_private: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    calls: u32,
    seconds: i64,
}

pub(super) async fn peers(peers: Peers, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let node = peers.node.find(file)?;
    let asked = Asked {
        node,
        json: peers.json,
    };
    match peers.action {
        Action::Accept {
            invitation,
            name,
            terms,
            yes,
        } => {
            let mut order = order_of(name, &terms);
            order.insert("invitation".to_owned(), line_of(&invitation)?.into());
            asked.accept(order, yes).await
        }
        Action::Invite {
            name,
            terms,
            expires,
            confirm,
        } => {
            let mut order = order_of(name, &terms);
            order.insert("expiresIn".to_owned(), expires.into());
            order.insert("hold".to_owned(), confirm.into());
            let told = asked.post("/invitations", Value::Object(order)).await?;
            if told.is_done() && !asked.json {
                // Beside the line itself, so that `$(archipel peers invite)` is the line.
                print::error(&print::harmless(&told::about_invitation(&told.body)))?;
            }
            asked.finish(&told, told::invitation)
        }
        Action::Invitations { action } => asked.invitations(action).await,
        Action::List => {
            let told = asked.ask(Method::GET, "", Vec::new()).await?;
            asked.finish(&told, told::all)
        }
        Action::Show { name } => {
            let path = format!("/{name}");
            let told = asked.ask(Method::GET, &path, Vec::new()).await?;
            asked.finish(&told, told::one)
        }
        Action::Suspend { name } => asked.shift(&name, "suspend").await,
        Action::Resume { name } => asked.shift(&name, "resume").await,
        Action::Revoke { name } => {
            let path = format!("/{name}");
            let told = asked.ask(Method::DELETE, &path, Vec::new()).await?;
            asked.finish(&told, |_| format!("{name} is revoked.\n"))
        }
        Action::RotateKey { overlap } => {
            let told = asked.post("/rotate-key", json!({"overlap": overlap}));
            asked.finish(&told.await?, told::rotated)
        }
    }
}

/// A node, and how its answers are told.
struct Asked {
    node: Node,
    json: bool,
}

impl Asked {
    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Told> {
        self.node
            .ask(method, &format!("/api/peers{path}"), body)
            .await
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Told> {
        self.ask(Method::POST, path, body.to_string().into_bytes())
            .await
    }

    async fn shift(&self, name: &str, step: &str) -> anyhow::Result<ExitCode> {
        let path = format!("/{name}/{step}");
        let told = self.ask(Method::POST, &path, Vec::new()).await?;
        self.finish(&told, told::one)
    }

    async fn invitations(&self, action: InvitationAction) -> anyhow::Result<ExitCode> {
        match action {
            InvitationAction::List => {
                let told = self.ask(Method::GET, "/invitations", Vec::new()).await?;
                self.finish(&told, told::invitations)
            }
            InvitationAction::Withdraw { id } => {
                let path = format!("/invitations/{id}");
                let told = self.ask(Method::DELETE, &path, Vec::new()).await?;
                self.finish(&told, |_| format!("{id} is withdrawn.\n"))
            }
        }
    }

    /// Looks first, asks whoever sits here, and accepts then.
    async fn accept(&self, order: Map<String, Value>, yes: bool) -> anyhow::Result<ExitCode> {
        let offered = self.post("/accept", Value::Object(order.clone())).await?;
        if !offered.is_done() {
            return self.finish(&offered, told::one);
        }
        if !self.json || !yes {
            // On standard error: what is piped is the outcome.
            print::error(&print::harmless(&told::offer(&offered.body)))?;
        }
        if !yes && !confirmed()? {
            bail!("nothing was accepted");
        }
        let mut order = order;
        order.insert("confirm".to_owned(), true.into());
        let told = self.post("/accept", Value::Object(order)).await?;
        self.finish(&told, told::accepted)
    }

    fn finish(&self, told: &Told, show: impl FnOnce(&Value) -> String) -> anyhow::Result<ExitCode> {
        if self.json {
            print::out(&format!("{}\n", told.body))?;
        } else if told.is_done() {
            print::out(&print::harmless(&show(&told.body)))?;
        } else {
            told.print_refusal(MISSING)?;
        }
        Ok(told.exit_code())
    }
}

fn order_of(name: Option<String>, terms: &Terms) -> Map<String, Value> {
    let mut grant = Map::new();
    let mut say = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            grant.insert(key.to_owned(), value);
        }
    };
    say("agents", terms.agents.as_ref().map(|agents| json!(agents)));
    say("methods", terms.methods.as_ref().map(|names| json!(names)));
    say("maxRole", terms.role.as_ref().map(|role| json!(role)));
    let limit = terms.limit;
    say(
        "limit",
        limit.map(|limit| json!({"calls": limit.calls, "seconds": limit.seconds})),
    );
    let mut order = Map::new();
    order.insert("name".to_owned(), name.into());
    order.insert("grant".to_owned(), grant.into());
    order.insert("allowPrivate".to_owned(), terms.allow_private.into());
    order.insert("reviewBy".to_owned(), terms.review_by.clone().into());
    order
}

fn line_of(invitation: &str) -> anyhow::Result<String> {
    if invitation != "-" {
        return Ok(invitation.to_owned());
    }
    let read = io::read_to_string(stdin());
    Ok(read
        .context("cannot read standard input")?
        .trim()
        .to_owned())
}

fn confirmed() -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        bail!(
            "nobody can be asked here: look at the fingerprints above, then run it again with --yes"
        );
    }
    print::error("Do both fingerprints agree with what the other side sees? Type `yes` to pair: ")?;
    agreed(stdin().lock()).context("cannot read the answer")
}

/// Whether somebody wrote the one word that counts; an end without a line is a no.
fn agreed(mut typed: impl BufRead) -> io::Result<bool> {
    let mut answer = String::new();
    typed.read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

/// A time such as `90s`, `15m`, `24h`, `7d`, in seconds.
fn seconds(text: &str) -> Result<i64, String> {
    let problem = || "must be a number with s, m, h or d, such as 24h".to_owned();
    let unit = text.chars().last().ok_or_else(problem)?;
    let number = text.strip_suffix(unit).unwrap_or_default();
    let number: u32 = number.parse().map_err(|_| problem())?;
    let unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(problem()),
    };
    Ok(i64::from(number) * unit)
}

fn limit(text: &str) -> Result<Limit, String> {
    let problem = || "must be calls for a time, such as 100/1m".to_owned();
    let (calls, time) = text.split_once('/').ok_or_else(problem)?;
    Ok(Limit {
        calls: calls.parse().map_err(|_| problem())?,
        seconds: seconds(time)?,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_a_yes() {
        for (typed, expected) in [
            ("yes\n", true),
            (" YES \r\n", true),
            ("yes", true),
            ("y\n", false),
            ("no\nyes\n", false),
            ("\nyes\n", false),
            ("yes please\n", false),
            ("", false),
        ] {
            assert_eq!(agreed(typed.as_bytes()).unwrap(), expected, "{typed:?}");
        }
        assert!(agreed(&b"\xff\n"[..]).is_err());
    }

    #[test]
    fn times_and_limits_are_read() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("24h", Some(86_400)),
            ("7d", Some(604_800)),
            ("7", None),
            ("d", None),
            ("", None),
            ("-1d", None),
            ("1w", None),
            ("1\u{e4}", None),
        ] {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
        let expected = Limit {
            calls: 100,
            seconds: 60,
        };
        assert_eq!(limit("100/1m"), Ok(expected));
        for text in ["100", "/1m", "x/1m", "100/1"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }
}
