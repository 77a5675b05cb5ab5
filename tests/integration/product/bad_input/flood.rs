//! Bad tokens without end from one address: each is refused, and everybody else is served as before.

use std::net::{IpAddr, Ipv4Addr};

use archipel_tests::mesh::{Identity, TestNode, say, state_of};
use futures_util::future::join_all;

use crate::ECHO;

const JWT: &str = "x-hive-federation-jwt";
/// Another address of this machine.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Clients that show bad tokens at once, and how many each shows.
const CLIENTS: usize = 8;
const TOKENS: usize = 100;

#[tokio::test]
async fn a_flood_of_bad_tokens_from_one_address_keeps_nobody_else_out() {
    let (own, peer) = (Identity::of_new_node(), Identity::of_new_node());
    let node = TestNode::start(|config| {
        own.configure(config);
        peer.configure_as_peer(config, "alpha");
    });
    let forged = peer.token_for("https://elsewhere.example");
    let (signed, _) = forged.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    let bad = ["x".to_owned(), "x".repeat(12_000), "..".to_owned(), forged];
    let flooding = (0..CLIENTS).map(|number| {
        let client = node.stranger().coming_from(ELSEWHERE);
        let client = client.with(JWT, &bad[number % bad.len()]);
        async move {
            for _ in 0..TOKENS {
                let answer = client.post_rpc(ECHO, "SendMessage", say("hello")).await;
                assert!(matches!(answer.status, 401 | 429), "{answer}");
            }
        }
    });
    let others = async {
        let operator = node.client();
        let stranger = node.stranger();
        for _ in 0..20 {
            let task = operator.call(ECHO, "SendMessage", say("hello")).await;
            assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
            let token = peer.token_for(own.origin());
            let peer = stranger.with(JWT, &token);
            let answer = peer.post_rpc(ECHO, "SendMessage", say("hello")).await;
            assert_eq!(answer.status, 200, "{answer}");
        }
    };
    tokio::join!(join_all(flooding), others);
}
