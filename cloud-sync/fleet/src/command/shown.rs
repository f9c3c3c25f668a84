//! How reports look to people: tables and lines. `--json` prints the reports themselves.

use runtime_console::{human_bytes, table};
use runtime_trust::Digest;

use crate::devices::Standing;
use crate::report::{ArtifactList, Deployed, DeployedModelRow, DeviceDetails, DeviceList, DeviceRow, RolloutStatus};

/// Digits of a digest that are shown in tables; --json has all.
const DIGEST_DIGITS: usize = 12;

/// A digest for a table.
pub(super) fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(DIGEST_DIGITS).collect()
}

/// Seconds since 1970 as an age: `12 s ago`, `3 h ago`.
pub(super) fn age(then: u64, now: u64) -> String {
    let seconds = now.saturating_sub(then);
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Seconds since 1970 as a span from now: `364 days`, or `ended`.
pub(super) fn left(then: u64, now: u64) -> String {
    match then.checked_sub(now) {
        None | Some(0) => "ended".to_owned(),
        Some(seconds @ 1..172_800) => format!("{} h", seconds.div_ceil(3600)),
        // Rounded up like the hours: what was made for 397 days has 397 a second later, too.
        Some(seconds) => format!("{} days", seconds.div_ceil(86_400)),
    }
}

fn model(row: &DeployedModelRow) -> String {
    match (&row.version, row.number) {
        (Some(version), Some(number)) => format!("{} {version} (number {number}, {})", row.name, short(&row.digest)),
        _ => format!("{} {}", row.name, short(&row.digest)),
    }
}

/// `fleet artifact list`.
pub(super) fn artifacts(list: &ArtifactList) -> String {
    if list.artifacts.is_empty() {
        return "no artifacts; `fleet artifact push FILE.cask` stores one".to_owned();
    }
    let row = |artifact: &crate::report::ArtifactRow| {
        let channels: Vec<&str> = artifact.channels.iter().map(|channel| channel.as_str()).collect();
        vec![
            artifact.name.to_string(),
            artifact.version.clone(),
            artifact.number.to_string(),
            short(&artifact.digest),
            human_bytes(artifact.stored_bytes),
            artifact.state.clone(),
            channels.join(" "),
        ]
    };
    let rows: Vec<Vec<String>> = list.artifacts.iter().map(row).collect();
    table(&["name", "version", "number", "digest", "size", "state", "channels"], &rows)
}

/// `fleet rollout start` and `rollback`.
pub(super) fn deployed(deployed: &Deployed) -> String {
    let models: Vec<String> = deployed.models.iter().map(model).collect();
    format!("channel {}, sequence {}: {}", deployed.channel, deployed.sequence, models.join(", "))
}

/// `fleet rollout status`.
pub(super) fn rollout(status: &RolloutStatus, now: u64) -> String {
    let models: Vec<String> = status.models.iter().map(model).collect();
    let mut text = format!(
        "channel {}, sequence {}: {}\n{} of {} devices active, {} pending, {} refused\n",
        status.channel,
        status.sequence,
        models.join(", "),
        status.active,
        status.devices_total,
        status.pending,
        status.refused,
    );
    let word = |state| match state {
        Standing::Active => "active",
        Standing::Pending => "pending",
        Standing::Refused => "refused",
    };
    let rows: Vec<Vec<String>> = status
        .devices
        .iter()
        .map(|device| {
            let reason = match (&device.reason, device.step, &device.message) {
                (Some(reason), Some(step), Some(message)) => format!("step {step}, {reason}: {message}"),
                _ => String::new(),
            };
            let seen = seen(device.online, device.last_seen_unix, now);
            vec![device.id.to_string(), word(device.state).to_owned(), seen, reason]
        })
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["device", "state", "seen", "reason"], &rows));
    }
    text
}

fn seen(online: bool, last_seen: Option<u64>, now: u64) -> String {
    match (online, last_seen) {
        (true, _) => "online".to_owned(),
        (false, Some(then)) => age(then, now),
        (false, None) => "never".to_owned(),
    }
}

/// `fleet device list`.
pub(super) fn devices(list: &DeviceList, now: u64) -> String {
    if list.devices.is_empty() {
        return "no devices; `fleet device enroll NAME --out FILE` makes the file that a device begins with".to_owned();
    }
    let rows: Vec<Vec<String>> = list.devices.iter().map(|device| device_cells(device, now)).collect();
    table(&["device", "channel", "seen", "runs", "refused"], &rows)
}

fn device_cells(device: &DeviceRow, now: u64) -> Vec<String> {
    let runs: Vec<String> = device
        .models
        .iter()
        .map(|model| match &model.active {
            Some(active) => format!("{} {}", model.name, active.version),
            None => format!("{} -", model.name),
        })
        .collect();
    let refused: Vec<&str> = device
        .models
        .iter()
        .filter_map(|model| model.refusal.as_ref())
        .map(|refusal| refusal.reason.as_str())
        .collect();
    vec![
        device.id.to_string(),
        device.channel.as_ref().map_or_else(|| "not enrolled".to_owned(), ToString::to_string),
        seen(device.online, device.last_seen_unix, now),
        runs.join(", "),
        refused.join(", "),
    ]
}

/// `fleet device show`.
pub(super) fn device(details: &DeviceDetails, now: u64) -> String {
    let row = &details.row;
    let mut lines = vec![
        format!("device       {}", row.id),
        format!("channel      {}", row.channel.as_ref().map_or("not enrolled", |channel| channel.as_str())),
        format!("seen         {}", seen(row.online, row.last_seen_unix, now)),
    ];
    if let Some(expires) = details.certificate_expires_unix {
        lines.push(format!("certificate  ends in {}", left(expires, now)));
    }
    if let Some(agent) = &details.agent_version {
        lines.push(format!("agent        {agent}"));
    }
    if let Some(profile) = &details.profile {
        let memory = human_bytes(profile.memory_bytes);
        let engines = profile.engines.join(" ");
        lines.push(format!("machine      {} {}, {} cores, {memory}", profile.architecture, profile.os, profile.cores));
        lines.push(format!("engines      {engines}"));
    }
    if let Some(sequence) = row.sequence_seen {
        lines.push(format!("sequence     {sequence}"));
    }
    for model in &row.models {
        let active = model.active.as_ref().map_or_else(
            || "nothing".to_owned(),
            |active| {
                let engine = active.engine.as_ref().map(|engine| format!(" on {engine}")).unwrap_or_default();
                format!("{} (number {}, {}){engine}", active.version, active.number, short(&active.digest))
            },
        );
        lines.push(format!("model        {}: {active}", model.name));
        if let Some(test) = details.self_tests.get(&model.name) {
            lines.push(format!("             p95 {} us, {}", test.p95_us, human_bytes(test.memory_bytes)));
        }
        if let Some(refusal) = &model.refusal {
            lines.push(format!(
                "             refused at step {}, {}: {}",
                refusal.step, refusal.reason, refusal.message
            ));
        }
    }
    lines.join("\n")
}
