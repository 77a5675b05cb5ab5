//! Nodes that trust each other: each knows the other's origin and key before either starts.

use archipel_kit::clock::{Clock, SystemClock};
use archipel_protocol::federation::{Delegation, Minter, PeerKey, Terms, Verifier, keys};
use archipel_protocol::ids::Origin;
use archipel_protocol::wan::{Direction, Envelope, PostedCall, Route};
use uuid::Uuid;

use super::config::{NodeConfig, free_port};
use super::node::TestNode;

/// Two nodes with fresh Ed25519 keys, `alpha` and `beta`, each a peer of the other under that name.
pub struct TestMesh {
    /// Dropped first, so that its connections to beta are gone when beta stops.
    pub alpha: TestNode,
    pub beta: TestNode,
}

/// Somebody who can sign federation tokens: a node before it starts, or a peer that the test plays.
#[derive(Debug, Clone)]
pub struct Identity {
    origin: String,
    seed: [u8; 32],
}

impl TestMesh {
    /// Both with nothing but their echo agents.
    pub fn pair() -> Self {
        Self::pair_with(|_| {}, |_| {})
    }

    /// Both with what the test adds.
    pub fn pair_with(
        alpha: impl FnOnce(&mut NodeConfig),
        beta: impl FnOnce(&mut NodeConfig),
    ) -> Self {
        let (ours, theirs) = (Identity::of_new_node(), Identity::of_new_node());
        let start =
            |own: &Identity, name: &str, peer: &Identity, more: &mut dyn FnMut(&mut NodeConfig)| {
                TestNode::start(|config| {
                    own.configure(config);
                    peer.configure_as_peer(config, name);
                    more(config);
                })
            };
        let (mut alpha, mut beta) = (Some(alpha), Some(beta));
        Self {
            alpha: start(&ours, "beta", &theirs, &mut |config| {
                alpha.take().unwrap()(config)
            }),
            beta: start(&theirs, "alpha", &ours, &mut |config| {
                beta.take().unwrap()(config)
            }),
        }
    }
}

impl Identity {
    /// Of a node that will listen on a port of its own.
    pub fn of_new_node() -> Self {
        Self::at(&format!("http://127.0.0.1:{}", free_port()))
    }

    /// Of whoever is at this origin.
    pub fn at(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            seed: rand::random(),
        }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Makes the node that is configured this one.
    pub fn configure(&self, config: &mut NodeConfig) {
        let listen = self.origin.split("://").nth(1).unwrap();
        let seed = keys::to_hex(&self.seed);
        config.add(&format!(
            r#"
            listen = "{listen}"
            [federation]
            enabled = true
            algorithm = "Ed25519"
            ed25519_seed = "{seed}"
            # All that a test does comes from one address, and quickly.
            rate_limit = 100000
            "#
        ));
    }

    /// Makes this one a peer of the node that is configured.
    pub fn configure_as_peer(&self, config: &mut NodeConfig, name: &str) {
        config.add(&format!("[[peers]]\n{}", self.as_peer(name)));
    }

    /// What a node is told of this one: the keys of `[[peers]]`, or of a file in the peers' folder.
    pub fn as_peer(&self, name: &str) -> String {
        let (origin, key) = (&self.origin, self.public_key());
        format!("name = \"{name}\"\norigin = \"{origin}\"\ned25519_public_key = \"{key}\"\n")
    }

    /// The public key as 64 hexadecimal digits.
    pub fn public_key(&self) -> String {
        keys::to_hex(&keys::public_key_of_seed(&self.seed).unwrap())
    }

    /// What a peer verifies tokens of this one with.
    pub fn verifier(&self) -> Verifier {
        let key = PeerKey::new(keys::public_key_of_seed(&self.seed).unwrap());
        Verifier::ed25519([(Origin::parse(&self.origin).unwrap(), [key])]).unwrap()
    }

    /// A good token for the node at `audience`.
    pub fn token_for(&self, audience: &str) -> String {
        self.token_at(audience, 0)
    }

    /// A token that was minted so many seconds from now, to live for a minute.
    pub fn token_at(&self, audience: &str, seconds_from_now: i64) -> String {
        let minter = Minter::ed25519(&self.seed, &Origin::parse(&self.origin).unwrap()).unwrap();
        let minted = minter.mint(Some(audience), 60, Uuid::new_v4(), now() + seconds_from_now);
        minted.unwrap()
    }

    /// A good token for the node at `audience`, for a call that is made for somebody.
    pub fn delegated_token(&self, audience: &str, delegation: &Delegation) -> String {
        let minter = Minter::ed25519(&self.seed, &Origin::parse(&self.origin).unwrap()).unwrap();
        let minted = minter.mint_for(Some(audience), 60, Uuid::new_v4(), now(), delegation);
        minted.unwrap()
    }

    /// A call to an agent of the node at `to` as an envelope, and in it the token.
    pub fn letter(&self, to: &str, agent: &str, body: &str) -> Envelope {
        let (own, to) = (Origin::parse(&self.origin), Origin::parse(to));
        let (own, to, id) = (own.unwrap(), to.unwrap(), Uuid::new_v4());
        let mut call = PostedCall {
            direction: Direction::Request,
            agent: agent.to_owned(),
            version: "1.0".to_owned(),
            body: body.to_owned(),
            token: String::new(),
        };
        let correlation_id = id.to_string();
        let digest = call.digest(&Route {
            correlation_id: &correlation_id,
            source: own.as_str(),
            target: to.as_str(),
        });
        let minter = Minter::ed25519(&self.seed, &own).unwrap();
        let minted = minter.mint_on(&Terms {
            audience: Some(to.as_str()),
            ttl_seconds: 3600,
            jti: id,
            now_unix: now(),
            delegation: &Delegation::NONE,
            letter: Some(&digest),
        });
        call.token = minted.unwrap();
        Envelope::with_call(id, &own, &to, &call)
    }

    /// A token that claims to come from this one, but is signed with its public key as a shared secret.
    pub fn confused_token(&self, audience: &str) -> String {
        let minter = Minter::hs256(&self.public_key(), &self.origin).unwrap();
        minter
            .mint(Some(audience), 60, Uuid::new_v4(), now())
            .unwrap()
    }
}

fn now() -> i64 {
    i64::try_from(SystemClock::new().now_ms() / 1000).unwrap()
}
