//! Who may name what. The table below is the architecture; a line of it falls only together with the README's map.

use crate::Violation;
use crate::source::Source;

/// What a group of files must not name.
struct Ban {
    rule: &'static str,
    /// Beginnings of paths that the ban speaks of.
    within: &'static [&'static str],
    /// Beginnings of paths that are free of it.
    except: &'static [&'static str],
    names: &'static [Forbidden],
    advice: &'static str,
}

enum Forbidden {
    /// A path that begins with these segments.
    Path(&'static [&'static str]),
    /// These segments anywhere in a path.
    Part(&'static [&'static str]),
    /// These tokens one after the other.
    Tokens(&'static [&'static str]),
}
use Forbidden::{Part, Path, Tokens};

const PRODUCT: &[&str] = &[
    "protocol/src/",
    "node/src/",
    "node/kit/src/",
    "gateway/src/",
];

const BANS: &[Ban] = &[
    Ban {
        rule: "protocol is pure",
        within: &["protocol/src/"],
        except: &[],
        names: &[
            Path(&["tokio"]),
            Path(&["tokio_util"]),
            Path(&["futures_util"]),
            Path(&["actix"]),
            Path(&["actix_rt"]),
            Path(&["actix_web"]),
            Path(&["redis"]),
            Path(&["async_nats"]),
            Path(&["http"]),
            Path(&["hyper"]),
            Path(&["hyper_util"]),
            Path(&["reqwest"]),
            Path(&["rusqlite"]),
            Path(&["std", "env"]),
            Path(&["std", "fs"]),
            Path(&["std", "net", "TcpStream"]),
            Path(&["std", "process"]),
            Path(&["std", "thread"]),
            Path(&["archipel_kit"]),
            Path(&["archipel_node"]),
        ],
        advice: "the wire knows no IO and no runtime: pass the bytes or the value in",
    },
    Ban {
        rule: "kit knows no A2A",
        within: &["node/kit/src/"],
        except: &[],
        names: &[
            Path(&["archipel_protocol"]),
            Path(&["archipel_node"]),
            Path(&["archipel_gateway"]),
        ],
        advice: "what speaks of A2A belongs to the node, the gateway or the protocol",
    },
    Ban {
        rule: "the gateway stands alone",
        within: &["gateway/src/"],
        except: &[],
        names: &[Path(&["archipel_node"])],
        advice: "what both need belongs to the kit or the protocol",
    },
    Ban {
        rule: "the edge never touches a store",
        within: &["node/src/edge.rs", "node/src/edge/"],
        except: &[],
        names: &[
            Part(&["store"]),
            Tokens(&["TaskStore"]),
            Tokens(&["ClaimStore"]),
            Tokens(&["AuditStore"]),
        ],
        advice: "send a message to the actor that owns the state",
    },
    Ban {
        rule: "adapters know no actor",
        within: &["node/src/store/", "node/src/bus/"],
        except: &[],
        names: &[
            Path(&["actix"]),
            Tokens(&["BusActor"]),
            Tokens(&["TaskActor"]),
            Tokens(&["TaskHub"]),
            Tokens(&["ReplayGuard"]),
            Tokens(&["AgentRegistry"]),
            Tokens(&["FederationVerifier"]),
        ],
        advice: "an adapter implements its port and is called; it calls nobody",
    },
    Ban {
        rule: "only app.rs names adapters",
        within: &["node/src/"],
        except: &[
            "node/src/app.rs",
            "node/src/app/",
            "node/src/store.rs",
            "node/src/store/",
            "node/src/bus.rs",
            "node/src/bus/",
            // A check of the configuration asks whether an address of Redis is one.
            "node/src/config/check.rs",
        ],
        names: &[
            Part(&["store", "embedded"]),
            Part(&["store", "memory"]),
            Part(&["store", "redis"]),
            Part(&["bus", "in_process"]),
            Part(&["bus", "nats"]),
            Part(&["line", "jetstream"]),
        ],
        advice: "hold Arc<dyn Port>; app.rs decides which adapter it is",
    },
    Ban {
        rule: "only app.rs names addresses",
        within: &["node/src/"],
        except: &["node/src/app.rs", "node/src/app/"],
        names: &[Tokens(&["Addr", "<"]), Part(&["actix", "Addr"])],
        advice: "hold Recipient<Message>: the sender need not know who receives",
    },
    Ban {
        rule: "only error.rs answers errors",
        within: PRODUCT,
        except: &["node/src/error.rs", "gateway/src/error.rs"],
        names: &[Tokens(&["ResponseError", "for"])],
        advice: "return the module's error and let error.rs say what a caller sees",
    },
    Ban {
        rule: "one maker of HTTP clients",
        within: PRODUCT,
        except: &[
            "node/src/egress.rs",
            "node/src/egress/",
            "gateway/src/upstream/lane.rs",
            "node/kit/src/client.rs",
            "node/kit/src/client/",
        ],
        names: &[
            Path(&["hyper_util"]),
            Path(&["hyper", "client"]),
            Path(&["reqwest"]),
            Path(&["awc"]),
            Part(&["HttpClient", "new"]),
        ],
        advice: "go through the node's egress or the gateway's upstream: they check where a connection leads",
    },
    Ban {
        rule: "only settings read the environment",
        within: PRODUCT,
        except: &["node/kit/src/settings.rs", "node/kit/src/settings/"],
        names: &[
            Part(&["env", "var"]),
            Part(&["env", "var_os"]),
            Part(&["env", "vars"]),
            Part(&["env", "vars_os"]),
            Part(&["env", "set_var"]),
            Part(&["EnvFilter", "from_default_env"]),
            Part(&["EnvFilter", "try_from_default_env"]),
        ],
        advice: "declare a setting: it is documented, bounded, checked, and read once at the start",
    },
];

/// All lines of the table over one file. Code under `#[cfg(test)]` may name what it tests.
pub(crate) fn check(source: &Source) -> Vec<Violation> {
    let begins = |prefixes: &[&str]| {
        prefixes
            .iter()
            .any(|prefix| source.path.starts_with(prefix))
    };
    let mut violations = Vec::new();
    for ban in BANS
        .iter()
        .filter(|ban| begins(ban.within) && !begins(ban.except))
    {
        for (line, name) in ban
            .names
            .iter()
            .flat_map(|forbidden| places(source, forbidden))
        {
            if !source.is_test(line) {
                let advice = format!("`{name}`: {}", ban.advice);
                violations.push(Violation {
                    path: source.path.clone(),
                    line,
                    rule: ban.rule,
                    advice,
                });
            }
        }
    }
    violations
}

fn places(source: &Source, forbidden: &Forbidden) -> Vec<(usize, String)> {
    let named = |test: &dyn Fn(&crate::source::Name) -> bool| {
        let names = source.names.iter().filter(|name| test(name));
        names
            .map(|name| (name.line, name.segments.join("::")))
            .collect()
    };
    match forbidden {
        Path(prefix) => named(&|name| name.starts_with(prefix)),
        Part(part) => named(&|name| name.contains(part)),
        Tokens(sequence) => source
            .lines_with(sequence)
            .into_iter()
            .map(|line| (line, sequence.join(" ")))
            .collect(),
    }
}

mod tests {
    use super::{BANS, check};
    use crate::source::Source;

    /// Path, code, and the rule that it breaks; the empty rule is none.
    const CASES: &[(&str, &str, &str)] = &[
        (
            "protocol/src/wan.rs",
            "use tokio::time;",
            "protocol is pure",
        ),
        (
            "protocol/src/wan.rs",
            "fn f() { ::hyper::body::f() }",
            "protocol is pure",
        ),
        ("protocol/src/wan.rs", "use std::{fmt, net::Ipv4Addr};", ""),
        (
            "node/kit/src/http.rs",
            "use archipel_protocol::names::Dialect;",
            "kit knows no A2A",
        ),
        (
            "gateway/src/proxy.rs",
            "let x = archipel_node::error::x();",
            "the gateway stands alone",
        ),
        (
            "node/src/edge/rpc.rs",
            "use crate::store::Row;",
            "the edge never touches a store",
        ),
        (
            "node/src/edge/rpc.rs",
            "fn f(x: &dyn TaskStore) {}",
            "the edge never touches a store",
        ),
        (
            "node/src/bus/redis.rs",
            "use actix::Recipient;",
            "adapters know no actor",
        ),
        (
            "node/src/tasks.rs",
            "use crate::store::embedded::Embedded;",
            "only app.rs names adapters",
        ),
        (
            "node/src/app.rs",
            "use crate::store::embedded::Embedded; fn f(x: Addr<A>) {}",
            "",
        ),
        (
            "node/src/tasks.rs",
            "struct A { b: Addr<B> }",
            "only app.rs names addresses",
        ),
        (
            "node/src/tasks.rs",
            "use actix::{Actor, Addr};",
            "only app.rs names addresses",
        ),
        (
            "node/src/edge.rs",
            "impl ResponseError for Failure {}",
            "only error.rs answers errors",
        ),
        ("node/src/error.rs", "impl ResponseError for Failure {}", ""),
        (
            "node/src/push.rs",
            "use hyper_util::client::legacy::Client;",
            "one maker of HTTP clients",
        ),
        (
            "node/src/egress.rs",
            "use hyper_util::client::legacy::Client;",
            "",
        ),
        (
            "gateway/src/config.rs",
            "fn f() { std::env::var(\"A\"); }",
            "only settings read the environment",
        ),
        (
            "node/kit/src/settings/environment.rs",
            "fn f() { std::env::vars(); }",
            "",
        ),
        (
            "node/src/main.rs",
            "const V: &str = env!(\"CARGO_PKG_VERSION\");",
            "",
        ),
        (
            "node/src/tasks.rs",
            "#[cfg(test)]\nmod tests { use crate::store::memory::Memory; }",
            "",
        ),
        (
            "node/src/tasks/tests.rs",
            "use crate::store::memory::Memory;",
            "",
        ),
    ];

    #[test]
    fn every_ban_fires_and_spares_what_is_allowed() {
        for (path, code, expected) in CASES {
            let violations = check(&Source::parse(path, code));
            let found: Vec<&str> = violations.iter().map(|violation| violation.rule).collect();
            let expected: Vec<&str> = Some(*expected)
                .filter(|rule| !rule.is_empty())
                .into_iter()
                .collect();
            assert_eq!(found, expected, "{path}: {code}");
        }
        for ban in BANS {
            assert!(
                CASES.iter().any(|(_, _, rule)| *rule == ban.rule),
                "no case for {}",
                ban.rule
            );
        }
    }

    #[test]
    fn bans_have_names_of_their_own() {
        let mut rules: Vec<&str> = BANS.iter().map(|ban| ban.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        assert_eq!(rules.len(), BANS.len());
    }
}
