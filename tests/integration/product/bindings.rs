//! One scenario, told in every tongue and on every way to an agent: the results must be equal.
//!
//! `speaker` is somebody who speaks A2A in one tongue and hands out what is told in the shapes of JSON-RPC 1.0; `scenes` is
//! what everybody plays; `shapes` looks at what each tongue really has on the wire; `strangers` is a property: a task of
//! somebody else is a task that nobody has.

use archipel_tests::mesh::{FakeAgent, TOKEN, TestMesh, TestNode};
use serde_json::Value;

mod scenes;
mod shapes;
mod speaker;
mod strangers;

use speaker::{Speaker, Tongue, normal};

use crate::upstream_agent;

/// A way to an agent of beta: where JSON-RPC is spoken, and where HTTP+JSON. The relay is an agent of beta that is the echo of
/// gamma.
struct Way {
    name: &'static str,
    rpc: &'static str,
    rest: &'static str,
    through_alpha: bool,
}

/// To the echo agent; the last two lead through a relay, which is an agent of its own.
const ECHO: [Way; 6] = [
    Way {
        name: "by its name",
        rpc: "/agents/echo",
        rest: "/agents/echo",
        through_alpha: false,
    },
    Way {
        name: "as the default agent",
        rpc: "/api/a2a/jsonrpc",
        rest: "/api/a2a/rest",
        through_alpha: false,
    },
    Way {
        name: "as the default agent for peers",
        rpc: "/api/a2a/federated/jsonrpc/",
        rest: "/api/a2a/federated/rest",
        through_alpha: false,
    },
    Way {
        name: "through a peer",
        rpc: "/peers/beta/agents/echo",
        rest: "/peers/beta/agents/echo",
        through_alpha: true,
    },
    Way {
        name: "behind another node",
        rpc: "/agents/relay",
        rest: "/agents/relay",
        through_alpha: false,
    },
    Way {
        name: "through a peer, behind another node",
        rpc: "/peers/beta/agents/relay",
        rest: "/peers/beta/agents/relay",
        through_alpha: true,
    },
];

/// To the agent that the test plays.
const PLAYED: [Way; 2] = [
    Way {
        name: "by its name",
        rpc: "/agents/played",
        rest: "/agents/played",
        through_alpha: false,
    },
    Way {
        name: "through a peer",
        rpc: "/peers/beta/agents/played",
        rest: "/peers/beta/agents/played",
        through_alpha: true,
    },
];

/// Everybody who may speak: each tongue on each way.
fn speakers(mesh: &TestMesh, ways: &[Way]) -> Vec<Speaker> {
    let mut speakers = Vec::new();
    for way in ways {
        let node = if way.through_alpha {
            &mesh.alpha
        } else {
            &mesh.beta
        };
        for tongue in Tongue::ALL {
            let path = match tongue {
                Tongue::Rest => way.rest,
                Tongue::Rpc10 | Tongue::Rpc03 => way.rpc,
            };
            let name = format!("{tongue:?} {}", way.name);
            speakers.push(Speaker::new(name, node.client(), tongue, path));
        }
    }
    speakers
}

/// Plays a scene with everybody; what was told must be what JSON-RPC 1.0 was told by name.
async fn compare(scene: impl AsyncFn(&Speaker) -> Vec<Value>) {
    compare_on(&ECHO, scene).await;
}

/// As [`compare`], on some of the ways to the echo agent.
async fn compare_on(ways: &[Way], scene: impl AsyncFn(&Speaker) -> Vec<Value>) {
    let gamma = TestNode::start(|_| {});
    let echo = format!("{}/agents/echo", gamma.origin());
    let relay = format!("{}bearer = \"{TOKEN}\"\n", upstream_agent("relay", &echo));
    let mesh = TestMesh::pair_with(|_| {}, |beta| beta.add(&relay));
    let mut expected = None;
    for speaker in speakers(&mesh, ways) {
        check(&speaker, &mut expected, scene(&speaker).await);
    }
}

/// As [`compare`], with an agent that the scene plays.
async fn compare_played(
    mut agent: FakeAgent,
    scene: impl AsyncFn(&Speaker, &mut FakeAgent) -> Vec<Value>,
) {
    let played = upstream_agent("played", agent.origin());
    let mesh = TestMesh::pair_with(|_| {}, |beta| beta.add(&played));
    let mut expected = None;
    for speaker in speakers(&mesh, &PLAYED) {
        check(&speaker, &mut expected, scene(&speaker, &mut agent).await);
    }
}

fn check(speaker: &Speaker, expected: &mut Option<Value>, told: Vec<Value>) {
    let told = normal(&Value::from(told));
    let expected = expected.get_or_insert_with(|| told.clone());
    assert_eq!(&told, expected, "{}", speaker.name);
}
