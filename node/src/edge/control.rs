//! `/api/agents`: the operator adds, changes, pauses and removes agents. Every decision leaves an audit record; secrets go
//! in and never come out.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use crate::audit::{AuditAction, AuditOutcome};
use crate::control::{Command, Control, ControlError, Step};
use crate::edge::auth::{self, Caller};
use crate::edge::{Edge, limits};
use crate::error::{Failure, Gate};

/// `GET /api/agents`
pub(super) async fn list(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    let (caller, _) = enter(&request, payload, &edge).await?;
    run(&request, &edge, &caller, Command::List).await
}

/// `POST /api/agents`
pub(super) async fn add(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    let (caller, body) = enter(&request, payload, &edge).await?;
    run(&request, &edge, &caller, Command::Add(body)).await
}

/// `GET /api/agents/{id}`
pub(super) async fn show(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let (caller, _) = enter(&request, payload, &edge).await?;
    run(&request, &edge, &caller, Command::Show(id.into_inner())).await
}

/// `PATCH /api/agents/{id}`
pub(super) async fn change(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let (caller, patch) = enter(&request, payload, &edge).await?;
    let id = id.into_inner();
    run(&request, &edge, &caller, Command::Change { id, patch }).await
}

/// `DELETE /api/agents/{id}`
pub(super) async fn remove(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let (caller, _) = enter(&request, payload, &edge).await?;
    run(&request, &edge, &caller, Command::Remove(id.into_inner())).await
}

/// `POST /api/agents/{id}/pause`, `resume`, `enable`, `disable`
pub(super) async fn shift(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let (caller, _) = enter(&request, payload, &edge).await?;
    let (id, step) = path.into_inner();
    let step = match step.as_str() {
        "pause" => Step::Pause,
        "resume" => Step::Resume,
        "enable" => Step::Enable,
        "disable" => Step::Disable,
        _ => {
            return Err(Failure::gate(
                Gate::NotFound,
                "there is nothing at this path",
            ));
        }
    };
    run(&request, &edge, &caller, Command::Move { id, step }).await
}

/// The gates, in the order of `edge.rs`, and the body.
async fn enter(
    request: &HttpRequest,
    payload: web::Payload,
    edge: &Edge,
) -> Result<(Caller, String), Failure> {
    limits::check_head(request, &edge.limits)?;
    auth::check_gateway(request, edge)?;
    let caller = auth::identify(request, edge).await?;
    auth::require_operator(request, edge, &caller)?;
    let body = limits::read_body(request, payload, &edge.limits).await?;
    match String::from_utf8(body.to_vec()) {
        Ok(text) => Ok((caller, text)),
        Err(_) => Err(Failure::gate(Gate::BadRequest, "the body is not UTF-8")),
    }
}

async fn run(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    command: Command,
) -> Result<HttpResponse, Failure> {
    let record = recorded(&command);
    let is_new = matches!(command, Command::Add(_));
    let Some(control) = &edge.control else {
        return Err(Failure::gate(
            Gate::NotFound,
            "there is nothing at this path",
        ));
    };
    let answer = match control.send(Control(command)).await {
        Ok(answer) => answer,
        Err(error) => {
            let busy = Failure::gate(Gate::Unavailable, "the control plane does not answer");
            return Err(busy.because(error));
        }
    };
    if let Some((action, id, step)) = record {
        let outcome = match &answer {
            Ok(_) => AuditOutcome::Accepted,
            Err(ControlError::NotKept(_)) => AuditOutcome::Failed,
            Err(_) => AuditOutcome::Refused,
        };
        let id = id.or_else(|| Some(answer.as_ref().ok()?.get("id")?.as_str()?.to_owned()));
        auth::record(request, edge, action, outcome, |record| {
            record.caller = Some(caller.principal.as_ref().into());
            record.agent = id.as_deref().map(Into::into);
            record.reason = step;
        });
    }
    Ok(match answer {
        Ok(Value::Null) => HttpResponse::NoContent().finish(),
        Ok(shown) => shown_as(is_new, &shown),
        Err(error) => refused(&error),
    })
}

/// What the audit is told of a command; of looking at things, nothing.
fn recorded(command: &Command) -> Option<(AuditAction, Option<String>, Option<&'static str>)> {
    match command {
        Command::List | Command::Show(_) => None,
        Command::Add(_) => Some((AuditAction::AgentCreated, None, None)),
        Command::Change { id, .. } => Some((AuditAction::AgentChanged, Some(id.clone()), None)),
        Command::Remove(id) => Some((AuditAction::AgentDeleted, Some(id.clone()), None)),
        Command::Move { id, step } => {
            let step = match step {
                Step::Pause => "pause",
                Step::Resume => "resume",
                Step::Enable => "enable",
                Step::Disable => "disable",
            };
            Some((AuditAction::AgentChanged, Some(id.clone()), Some(step)))
        }
    }
}

fn shown_as(is_new: bool, shown: &Value) -> HttpResponse {
    let mut response = if is_new {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    response.insert_header((CACHE_CONTROL, "no-store"));
    let id = shown.get("id").and_then(Value::as_str);
    if let Some(id) = id.filter(|_| is_new) {
        response.insert_header((LOCATION, format!("/api/agents/{id}")));
    }
    response.json(shown)
}

fn refused(error: &ControlError) -> HttpResponse {
    let (status, word) = match error {
        ControlError::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
        ControlError::Conflict(_) => (StatusCode::CONFLICT, "Conflict"),
        ControlError::Invalid(_) => (StatusCode::BAD_REQUEST, "Bad Request"),
        ControlError::NotKept(_) => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
    };
    let mut body = json!({"error": word, "message": error.to_string()});
    if let (ControlError::Invalid(problems), Some(members)) = (error, body.as_object_mut()) {
        let problems: Vec<Value> = problems
            .iter()
            .map(|problem| json!({"at": problem.at, "what": problem.what}))
            .collect();
        members.insert("problems".to_owned(), problems.into());
    }
    if let ControlError::NotKept(cause) = error {
        tracing::warn!(%cause, "a decision about an agent could not be kept");
    }
    refusal(status, &body)
}

/// A refusal of the control plane; one for what we lack says when to come again.
pub(super) fn refusal(status: StatusCode, body: &Value) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header((RETRY_AFTER, "1"));
    }
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body)
}
