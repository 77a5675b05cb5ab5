//! A property: whatever is asked by whomever in whichever tongue, a task of somebody else is answered exactly as a task that
//! nobody has.

use std::cell::RefCell;

use archipel_tests::mesh::{
    Answer, Client, FakeAgent, Identity, TestNode, configured, id_of, say, their_question,
};
use http::HeaderMap;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::speaker::{Speaker, Tongue};
use crate::upstream_agent;

/// Somebody who calls. Each tenant that they name makes another owner of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Operator,
    PeerOne,
    PeerTwo,
}

/// Whose tasks: a caller, under a tenant, at an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    who: Who,
    tenant: Option<&'static str>,
    agent: &'static str,
}

#[derive(Debug, Clone)]
struct Step {
    owner: Owner,
    tongue: Tongue,
    asked: Asked,
}

#[derive(Debug, Clone)]
enum Asked {
    /// A new task that ends at once, or waits for its client.
    Open,
    List,
    /// Something of one of the tasks that there are.
    Of(Index, &'static str),
}

const OF_A_TASK: [&str; 9] = [
    "GetTask",
    "CancelTask",
    "SubscribeToTask",
    "SendMessage",
    "SendStreamingMessage",
    "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = prop_oneof![Just(Who::Operator), Just(Who::PeerOne), Just(Who::PeerTwo)];
    let tenant = prop_oneof![Just(None), Just(Some("acme"))];
    let agent = prop_oneof![Just("echo"), Just("asking")];
    let tongue = prop_oneof![Just(Tongue::Rpc10), Just(Tongue::Rpc03), Just(Tongue::Rest)];
    let asked = prop_oneof![
        3 => Just(Asked::Open),
        1 => Just(Asked::List),
        8 => (any::<Index>(), prop::sample::select(&OF_A_TASK[..]))
            .prop_map(|(task, method)| Asked::Of(task, method)),
    ];
    let step =
        (who, tenant, agent, tongue, asked).prop_map(|(who, tenant, agent, tongue, asked)| {
            // 0.3 knows no tenants.
            let tenant = tenant.filter(|_| tongue != Tongue::Rpc03);
            Step {
                owner: Owner { who, tenant, agent },
                tongue,
                asked,
            }
        });
    prop::collection::vec(step, 4..24)
}

/// The node and everybody who calls it.
struct World {
    node: TestNode,
    peers: [Identity; 2],
    /// The tasks of this case, and whose they are.
    tasks: RefCell<Vec<(String, Owner)>>,
}

impl World {
    fn start(agent: &FakeAgent) -> Self {
        let own = Identity::of_new_node();
        let peers = ["http://one.invalid", "http://two.invalid"].map(Identity::at);
        let node = TestNode::start(|config| {
            own.configure(config);
            for (peer, name) in peers.iter().zip(["one", "two"]) {
                peer.configure_as_peer(config, name);
            }
            config.add(&upstream_agent("asking", agent.origin()));
        });
        Self {
            node,
            peers,
            tasks: RefCell::default(),
        }
    }

    fn speaker(&self, owner: Owner, tongue: Tongue) -> Speaker {
        let client = match owner.who {
            Who::Operator => self.node.client(),
            Who::PeerOne => self.peer(0),
            Who::PeerTwo => self.peer(1),
        };
        let path = format!("/agents/{}", owner.agent);
        Speaker::new(String::new(), client, tongue, &path)
    }

    /// A peer with a fresh token: each is good for one call.
    fn peer(&self, number: usize) -> Client {
        let token = self.peers[number].token_for(self.node.origin());
        self.node.stranger().with("x-hive-federation-jwt", &token)
    }

    async fn play(&self, steps: &[Step]) {
        self.tasks.borrow_mut().clear();
        let talk = Uuid::new_v4().to_string();
        for step in steps {
            match &step.asked {
                Asked::Open => self.open(step, &talk).await,
                Asked::List => self.list(step, &talk).await,
                Asked::Of(task, method) => self.ask(step, task, method).await,
            }
        }
    }

    async fn open(&self, step: &Step, talk: &str) {
        let mut params = for_tenant(say("hello"), step.owner.tenant);
        params["message"]["contextId"] = talk.into();
        let speaker = self.speaker(step.owner, step.tongue);
        let task = speaker.call("SendMessage", params).await.result();
        self.tasks.borrow_mut().push((id_of(&task), step.owner));
    }

    /// A list holds all tasks of its owner, and no other.
    async fn list(&self, step: &Step, talk: &str) {
        let params = for_tenant(
            json!({"contextId": talk, "pageSize": 100}),
            step.owner.tenant,
        );
        let speaker = self.speaker(step.owner, step.tongue);
        let page = speaker.call("ListTasks", params).await.result();
        let mut listed: Vec<_> = page["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(id_of)
            .collect();
        let tasks = self.tasks.borrow();
        let owned = tasks.iter().filter(|(_, owner)| *owner == step.owner);
        let mut expected: Vec<_> = owned.map(|(id, _)| id.clone()).collect();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected, "{step:?}");
        assert_eq!(page["totalSize"], expected.len(), "{step:?}");
    }

    async fn ask(&self, step: &Step, task: &Index, method: &str) {
        let known = {
            let tasks = self.tasks.borrow();
            (!tasks.is_empty()).then(|| task.get(&tasks).clone())
        };
        let Some((id, owner)) = known else {
            return;
        };
        if owner == step.owner && method == "SubscribeToTask" {
            // It would be watched until it ends.
            return;
        }
        let answer = self.answer(step, method, &id).await;
        if owner == step.owner {
            assert!(
                !answer.text().contains("TASK_NOT_FOUND") || is_webhook(method),
                "{step:?}"
            );
            return;
        }
        let nobodys = Uuid::now_v7().to_string();
        let missing = self.answer(step, method, &nobodys).await;
        assert_eq!(answer.status, missing.status, "{step:?}");
        assert_eq!(
            answer.text().replace(&id, &nobodys),
            missing.text(),
            "{step:?}"
        );
        assert_eq!(
            without_date(answer.headers),
            without_date(missing.headers),
            "{step:?}"
        );
    }

    async fn answer(&self, step: &Step, method: &str, id: &str) -> Answer {
        let params = for_tenant(params_of(method, id), step.owner.tenant);
        let speaker = self.speaker(step.owner, step.tongue);
        speaker.call(method, params).await.answer
    }
}

/// The webhook that these tests ask for need not be there.
fn is_webhook(method: &str) -> bool {
    method.contains("PushNotificationConfig")
}

fn params_of(method: &str, id: &str) -> Value {
    match method {
        "SendMessage" | "SendStreamingMessage" => {
            let mut params = configured(say("more"), json!({"returnImmediately": true}));
            params["message"]["messageId"] = "the same each time".into();
            params["message"]["taskId"] = id.into();
            params
        }
        "CreateTaskPushNotificationConfig" => {
            json!({"taskId": id, "id": "hook", "url": "https://example.com/hook"})
        }
        "ListTaskPushNotificationConfigs" => json!({"taskId": id}),
        "GetTaskPushNotificationConfig" | "DeleteTaskPushNotificationConfig" => {
            json!({"taskId": id, "id": "hook"})
        }
        _ => json!({"id": id}),
    }
}

fn for_tenant(mut params: Value, tenant: Option<&str>) -> Value {
    if let Some(tenant) = tenant {
        params["tenant"] = tenant.into();
    }
    params
}

fn without_date(mut headers: HeaderMap) -> HeaderMap {
    headers.remove("date");
    headers
}

/// An agent that answers everything with a question, until it is told to stop.
async fn ask_back(mut agent: FakeAgent, stopped: oneshot::Receiver<()>) {
    let asking = async {
        loop {
            let Some(call) = agent.next_call().await else {
                return;
            };
            match call.method() {
                "CancelTask" => {
                    let status = json!({"state": "TASK_STATE_CANCELED"});
                    call.answer(json!({"id": "theirs", "status": status}));
                }
                _ => call.stream().tell(their_question("what?")),
            }
        }
    };
    tokio::select! {
        () = asking => {}
        _ = stopped => {}
    }
}

#[test]
fn a_task_of_somebody_else_is_a_task_that_nobody_has() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let agent = FakeAgent::start();
    let world = World::start(&agent);
    let (stop, stopped) = oneshot::channel();
    let asking = runtime.spawn(ask_back(agent, stopped));
    let config = Config {
        cases: 24,
        max_shrink_iters: 64,
        failure_persistence: None,
        ..Config::default()
    };
    let property = |steps: Vec<Step>| {
        runtime.block_on(world.play(&steps));
        Ok(())
    };
    TestRunner::new(config).run(&steps(), property).unwrap();
    drop(world);
    stop.send(()).unwrap();
    runtime.block_on(asking).unwrap();
}
