//! What is said of one agent, in the configuration or over the control plane, and the rules that concern it alone.

use archipel_kit::settings;
use archipel_kit::settings::{ByteSize, Problems, Secret};
use archipel_protocol::object::Fields;
use url::Url;

use crate::cards::trust::CardTrust;
use crate::config::CardCheck;

const ID_RULE: &str =
    "may hold lower-case letters, digits, `.`, `_` and `-`, and begins with a letter or digit";

settings! {
    /// An agent of this node. The first is the default agent, unless another one says so.
    pub struct AgentSettings, check = AgentSettings::check {
        /// Its name in our URLs (`/agents/ID`): lower-case letters, digits, `.`, `_` and `-`.
        pub id: String, in 1..=64, example "text";
        /// What it is.
        pub kind: AgentKind, example "text";
        /// Whether it answers at the paths that name no agent.
        pub default: bool = false;
        /// Name on its card. Unset: its id.
        pub name: Option<String>, in 1..=128;
        /// Description on its card.
        pub description: Option<String>, in 1..=2048;
        /// Who sees its card, and whether peers may call it.
        pub visibility: Visibility = "public";
        /// Whether it is told of envelopes of other sites whose `targetHandle` is its id: each is a message to it, and not for the
        /// worker (`wan.worker`).
        pub receives_envelopes: bool = false;
        /// Who keeps its tasks.
        pub mode: AgentMode = "managed";
        /// Where an `a2a` agent is, or the base of an `openai` endpoint (`https://api.openai.com/v1`).
        pub url: Option<Url>, example "http://127.0.0.1:9100/";
        /// Bearer token that an `a2a` agent expects.
        pub bearer: Option<Secret>, in 1..=4096;
        /// Keys with which the card of an `a2a` agent may be signed (see `trust.cards`): a JWK Set as JSON text.
        pub card_keys: Option<String>, in 2..=65536, example "{\"keys\":[]}";
        /// What callers who may call it are told beyond its card: a JSON object whose members take the place of the card's.
        /// An agent that has an extended card of its own shows that instead.
        pub extended_card: Option<String>, in 2..=65536, example "{\"skills\":[]}";
        /// Turns that may run at once; further ones wait or are refused with 503. 0: any number.
        pub max_concurrent_turns: usize = 0, in 0..=100000;
        /// Turns that may wait for one that runs to end.
        pub max_waiting_turns: usize = 0, in 0..=100000;
        /// Name of the model of an `openai` agent.
        pub model: Option<String>, in 1..=256, example "gpt-4o-mini";
        /// Key of an `openai` endpoint.
        pub api_key: Option<Secret>, in 1..=4096;
        /// What the model of an `openai` agent is told before anything else.
        pub system_prompt: Option<String>, in 1..=65536;
        /// How freely that model chooses its words. Unset: as the endpoint has it.
        pub temperature: Option<f64>, in 0..=2, example 0.7;
        /// The longest answer of that model, in tokens. Unset: as the endpoint has it.
        pub max_tokens: Option<u32>, in 1..=10000000, example 1024;
        /// Whether that model is given images.
        pub images: bool = false;
        /// Whether a task of an `openai` agent waits for another message after each answer, instead of being completed.
        /// The model then sees what was said in the task before.
        pub conversation: bool = false;
        /// How much of what was said before the model sees, oldest forgotten first.
        pub history: ByteSize = "64KiB", in "0B"..="4MiB";
    }
}

settings! {
    /// What an agent is.
    pub enum AgentKind {
        /// Says back what it was told.
        Echo = "echo",
        /// Statistics, key terms and an extractive summary of a text; needs no model.
        Text = "text",
        /// An agent that speaks A2A, 1.0 or 0.3, by its URL.
        A2a = "a2a",
        /// A model behind an OpenAI-compatible chat endpoint.
        OpenAi = "openai",
    }
}

settings! {
    /// Who keeps the tasks of an agent.
    pub enum AgentMode {
        /// We do: they survive the agent, and their history, streams and webhooks are ours.
        Managed = "managed",
        /// The agent does: requests reach it as they came, after the gates. For `a2a` agents only.
        Passthrough = "passthrough",
    }
}

settings! {
    /// Who may see an agent. Calling it always needs a right.
    pub enum Visibility {
        /// Its card is for everybody; the operator and peers may call it.
        Public = "public",
        /// Its card is for the operator and peers, who may call it.
        Peers = "peers",
        /// The operator only.
        Private = "private",
    }
}

impl AgentSettings {
    fn check(&self, problems: &mut Problems) {
        let is_a2a = self.kind == AgentKind::A2a;
        let is_remote = is_a2a || self.kind == AgentKind::OpenAi;
        let is_called = |url: &Url| matches!(url.scheme(), "http" | "https");
        let mut refuse = |wrong: bool, key: &str, what: &'static str| {
            if wrong {
                problems.add(key, what);
            }
        };
        refuse(!is_path_word(&self.id), "id", ID_RULE);
        match &self.url {
            None => refuse(
                is_remote,
                "url",
                "is needed for an agent of kind a2a or openai",
            ),
            Some(_) if !is_remote => {
                refuse(true, "url", "is only for an agent of kind a2a or openai");
            }
            Some(url) => refuse(!is_called(url), "url", "must be http or https"),
        }
        if !is_a2a {
            let is_passed_through = self.mode == AgentMode::Passthrough;
            refuse(
                self.bearer.is_some(),
                "bearer",
                "is only for an agent of kind a2a",
            );
            refuse(
                is_passed_through,
                "mode",
                "can be passthrough only for an agent of kind a2a",
            );
        }
        refuse(
            self.receives_envelopes && self.mode == AgentMode::Passthrough,
            "receives_envelopes",
            "is not for an agent that keeps its own tasks (mode = \"passthrough\")",
        );
        let waits = self.max_waiting_turns > 0 && self.max_concurrent_turns == 0;
        let without_limit = "needs max_concurrent_turns: without a limit nothing waits";
        refuse(waits, "max_waiting_turns", without_limit);
        self.check_cards(problems);
        self.check_model(problems);
    }

    fn check_cards(&self, problems: &mut Problems) {
        let keys = self.card_keys.as_deref();
        if keys.is_some() && self.kind != AgentKind::A2a {
            problems.add("card_keys", "is only for an agent of kind a2a");
        } else if let Err(problem) = CardTrust::of_agent(CardCheck::Off, keys) {
            problems.add("card_keys", problem.to_string());
        }
        let extended = self.extended_card.as_deref();
        if extended.is_some_and(|text| Fields::read(text).is_err()) {
            problems.add("extended_card", "must be a JSON object");
        }
    }

    fn check_model(&self, problems: &mut Problems) {
        if self.kind == AgentKind::OpenAi {
            if self.model.is_none() {
                problems.add("model", "is needed for an agent of kind openai");
            }
            return;
        }
        let given = [
            ("model", self.model.is_some()),
            ("api_key", self.api_key.is_some()),
            ("system_prompt", self.system_prompt.is_some()),
            ("temperature", self.temperature.is_some()),
            ("max_tokens", self.max_tokens.is_some()),
            ("images", self.images),
            ("conversation", self.conversation),
        ];
        for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            problems.add(key, "is only for an agent of kind openai");
        }
    }
}

/// Whether a word can stand in a path of ours as it is.
fn is_path_word(word: &str) -> bool {
    let first = word.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && word.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
}
