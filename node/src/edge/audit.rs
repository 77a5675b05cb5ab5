//! `GET /api/audit`: who did what with which right, a page of the chain at a time, for operators.
//!
//! The newest records without `?after=SEQ`, else those behind that one; `limit` says how many. Each comes with its hash, so
//! that whoever reads the chain checks it without having to believe the node.

use std::fmt::Display;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::{KeptRecord, ReadRecords};
use crate::edge::{Edge, auth, limits};
use crate::error::{Failure, Gate};

/// Records in one answer, where nobody says how many, and at most.
const PAGE: usize = 100;
const MOST: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn page(
    request: HttpRequest,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    limits::check_url(&request, &edge.limits)?;
    let caller = auth::identify(&request, &edge).await?;
    auth::require_operator(&request, &edge, &caller)?;
    let asked = web::Query::<Asked>::from_query(request.query_string()).map_err(|error| {
        let message = "the query may have `after` (a number of the chain) and `limit`, each once";
        Failure::gate(Gate::BadRequest, message).because(error)
    })?;
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, MOST);
    let after = asked.after;
    let read = edge.records.send(ReadRecords { after, limit }).await;
    let records = read.map_err(not_now)?.map_err(not_now)?;
    let last = records.last().filter(|_| records.len() == limit);
    let body = json!({
        "next": last.map(|record| record.seq),
        "records": records.iter().map(shown).collect::<Result<Vec<Value>, Failure>>()?,
    });
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body))
}

fn shown(record: &KeptRecord) -> Result<Value, Failure> {
    let body: Value = serde_json::from_slice(&record.body).map_err(not_now)?;
    Ok(json!({"record": body, "hash": hex::encode(record.hash)}))
}

fn not_now(error: impl Display) -> Failure {
    Failure::gate(Gate::Unavailable, "the audit chain cannot be read now").because(error)
}
