//! Which path below an agent means which operation (A2A 1.0 §11.3, and the `google.api.http` annotations of `a2a.proto`).

use actix_web::http::Method as Verb;
use archipel_protocol::method::Method;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::edge) struct Address {
    pub(super) method: Method,
    /// The first segment, where one stands before the path.
    pub(super) tenant: Option<String>,
    pub(super) task: Option<String>,
    pub(super) config: Option<String>,
}

/// Why a path names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    NoSuchPath,
    /// There is something, but not for this HTTP method.
    WrongVerb,
}

/// Where a path leads, whatever is to be done there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    Send,
    SendStreaming,
    Tasks,
    Task(&'a str),
    Cancel(&'a str),
    Subscribe(&'a str),
    Configs(&'a str),
    Config(&'a str, &'a str),
    ExtendedCard,
}

impl Address {
    /// Finds what `below` names: the path below the agent as the router hands it over, without the slash before it.
    pub(super) fn find(verb: &Verb, below: &str) -> Result<Self, Refused> {
        let below = below.strip_suffix('/').unwrap_or(below);
        let segments: Vec<&str> = below.split('/').collect();
        let (tenant, place) = lead(&segments).ok_or(Refused::NoSuchPath)?;
        let method = operation(place, verb).ok_or(Refused::WrongVerb)?;
        let (task, config) = match place {
            Place::Send | Place::SendStreaming | Place::Tasks | Place::ExtendedCard => (None, None),
            Place::Task(id) | Place::Cancel(id) | Place::Subscribe(id) | Place::Configs(id) => {
                (Some(id), None)
            }
            Place::Config(id, config) => (Some(id), Some(config)),
        };
        Ok(Self {
            method,
            tenant: tenant.map(decode),
            task: task.map(decode),
            config: config.map(decode),
        })
    }

    /// What it says of the parameters: their names depend on whether the task or its configuration is what is asked for.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let (task, config) = match self.method {
            Method::GetTask | Method::CancelTask | Method::SubscribeToTask => ("id", "id"),
            _ => ("taskId", "id"),
        };
        [
            ("tenant", &self.tenant),
            (task, &self.task),
            (config, &self.config),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// A path without a tenant is tried first: nobody can be called `tasks`.
fn lead<'a>(segments: &[&'a str]) -> Option<(Option<&'a str>, Place<'a>)> {
    // They mean another path to whoever reads it after us.
    if segments
        .iter()
        .any(|segment| matches!(*segment, "." | ".."))
    {
        return None;
    }
    if let Some(place) = place(segments) {
        return Some((None, place));
    }
    let (tenant, rest) = segments.split_first()?;
    let place = place(rest).filter(|_| !tenant.is_empty())?;
    Some((Some(tenant), place))
}

fn place<'a>(segments: &[&'a str]) -> Option<Place<'a>> {
    Some(match *segments {
        ["message:send"] => Place::Send,
        ["message:stream"] => Place::SendStreaming,
        ["extendedAgentCard"] => Place::ExtendedCard,
        ["tasks"] => Place::Tasks,
        ["tasks", task] if !task.is_empty() => match task.rsplit_once(':') {
            None => Place::Task(task),
            Some((id, "cancel")) => Place::Cancel(id),
            Some((id, "subscribe")) => Place::Subscribe(id),
            // Ids hold no colon, so this is a verb that we do not know.
            Some(_) => return None,
        },
        ["tasks", task, "pushNotificationConfigs"] if !task.is_empty() => Place::Configs(task),
        ["tasks", task, "pushNotificationConfigs", config]
            if !task.is_empty() && !config.is_empty() =>
        {
            Place::Config(task, config)
        }
        _ => return None,
    })
}

fn operation(place: Place<'_>, verb: &Verb) -> Option<Method> {
    Some(match (place, verb) {
        (Place::Send, &Verb::POST) => Method::SendMessage,
        (Place::SendStreaming, &Verb::POST) => Method::SendStreamingMessage,
        (Place::Tasks, &Verb::GET) => Method::ListTasks,
        (Place::Task(_), &Verb::GET) => Method::GetTask,
        (Place::Cancel(_), &Verb::POST) => Method::CancelTask,
        // The proto has GET, the text of the specification POST; an `EventSource` of a browser can only GET.
        (Place::Subscribe(_), &Verb::GET | &Verb::POST) => Method::SubscribeToTask,
        (Place::Configs(_), &Verb::POST) => Method::CreateTaskPushNotificationConfig,
        (Place::Configs(_), &Verb::GET) => Method::ListTaskPushNotificationConfigs,
        (Place::Config(..), &Verb::GET) => Method::GetTaskPushNotificationConfig,
        (Place::Config(..), &Verb::DELETE) => Method::DeleteTaskPushNotificationConfig,
        (Place::ExtendedCard, &Verb::GET) => Method::GetExtendedAgentCard,
        _ => return None,
    })
}

/// The router has decoded everything but what would change the path's meaning.
fn decode(segment: &str) -> String {
    if !segment.contains('%') {
        return segment.to_owned();
    }
    let mut decoded = segment.to_owned();
    for (written, meant) in [
        ("%2F", "/"),
        ("%2f", "/"),
        ("%2B", "+"),
        ("%2b", "+"),
        // Last, so that nothing is decoded twice.
        ("%25", "%"),
    ] {
        decoded = decoded.replace(written, meant);
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    type Named<'a> = (Method, Option<&'a str>, Option<&'a str>, Option<&'a str>);

    fn check(verb: &Verb, below: &str, expected: Result<Named<'_>, Refused>) {
        let found = Address::find(verb, below);
        let found = found.as_ref().map_err(|refused| *refused).map(|address| {
            (
                address.method,
                address.tenant.as_deref(),
                address.task.as_deref(),
                address.config.as_deref(),
            )
        });
        assert_eq!(found, expected, "{verb} {below}");
    }

    type Row = (Verb, &'static str, Method, Option<&'static str>);

    const WITHOUT_CONFIG: [Row; 10] = [
        (Verb::POST, "message:send", Method::SendMessage, None),
        (
            Verb::POST,
            "message:stream",
            Method::SendStreamingMessage,
            None,
        ),
        (Verb::GET, "tasks", Method::ListTasks, None),
        (Verb::GET, "tasks/1-a", Method::GetTask, Some("1-a")),
        (Verb::POST, "tasks/1:cancel", Method::CancelTask, Some("1")),
        (
            Verb::POST,
            "tasks/1:subscribe",
            Method::SubscribeToTask,
            Some("1"),
        ),
        (
            Verb::GET,
            "tasks/1:subscribe",
            Method::SubscribeToTask,
            Some("1"),
        ),
        (
            Verb::POST,
            "tasks/1/pushNotificationConfigs",
            Method::CreateTaskPushNotificationConfig,
            Some("1"),
        ),
        (
            Verb::GET,
            "tasks/1/pushNotificationConfigs",
            Method::ListTaskPushNotificationConfigs,
            Some("1"),
        ),
        (
            Verb::GET,
            "extendedAgentCard",
            Method::GetExtendedAgentCard,
            None,
        ),
    ];

    fn check_with_and_without_tenant(verb: &Verb, below: &str, (method, task, config): Found) {
        check(verb, below, Ok((method, None, task, config)));
        check(verb, &format!("{below}/"), Ok((method, None, task, config)));
        let of_tenant = format!("acme/{below}");
        check(verb, &of_tenant, Ok((method, Some("acme"), task, config)));
    }

    type Found = (Method, Option<&'static str>, Option<&'static str>);

    #[test]
    fn every_operation_has_its_path() {
        for (verb, below, method, task) in WITHOUT_CONFIG {
            check_with_and_without_tenant(&verb, below, (method, task, None));
        }
        let below = "tasks/1/pushNotificationConfigs/c";
        for (verb, method) in [
            (Verb::GET, Method::GetTaskPushNotificationConfig),
            (Verb::DELETE, Method::DeleteTaskPushNotificationConfig),
        ] {
            check_with_and_without_tenant(&verb, below, (method, Some("1"), Some("c")));
        }
    }

    #[test]
    fn what_the_router_left_encoded_is_decoded_once() {
        check(
            &Verb::GET,
            "a%2Fb/tasks/1/pushNotificationConfigs/c%252F%2Bd",
            Ok((
                Method::GetTaskPushNotificationConfig,
                Some("a/b"),
                Some("1"),
                Some("c%2F+d"),
            )),
        );
    }

    #[test]
    fn other_paths_and_verbs_name_nothing() {
        for (verb, below, refused) in [
            (Verb::GET, "", Refused::NoSuchPath),
            (Verb::GET, "task", Refused::NoSuchPath),
            (Verb::GET, "/tasks", Refused::NoSuchPath),
            (
                Verb::GET,
                "tasks//pushNotificationConfigs",
                Refused::NoSuchPath,
            ),
            (Verb::GET, "a/b/tasks", Refused::NoSuchPath),
            (Verb::GET, "../tasks", Refused::NoSuchPath),
            (Verb::GET, "tasks/..", Refused::NoSuchPath),
            (Verb::POST, "tasks/1:delete", Refused::NoSuchPath),
            (Verb::GET, "message:send", Refused::WrongVerb),
            (Verb::POST, "tasks", Refused::WrongVerb),
            (Verb::DELETE, "tasks/1", Refused::WrongVerb),
            (Verb::GET, "acme/tasks/1:cancel", Refused::WrongVerb),
        ] {
            check(&verb, below, Err(refused));
        }
    }
}
