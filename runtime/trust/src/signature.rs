//! The one function that counts signatures, and the one that compares the count with a threshold.

use std::collections::BTreeSet;

use crate::refusal::{Reason, Refusal, Step};
use crate::{KeyId, PublicKey, RoleKeys};

/// One signature as a document carries it: unproven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) key: KeyId,
    pub(crate) bytes: Vec<u8>,
}

/// How many different keys of `role` signed `message`.
///
/// Every signature that Cask believes is counted here: TUF metadata and DSSE envelopes alike.
/// A key counts once, however often and under however many names it signed. `verify` is the
/// verifier of the key's scheme.
pub(crate) fn count_signatures(
    role: &RoleKeys,
    message: &[u8],
    signatures: &[Signature],
    verify: impl Fn(&PublicKey, &[u8], &[u8]) -> bool,
) -> usize {
    let mut counted = BTreeSet::new();
    for signature in signatures {
        let Some(key) = role.keys.get(&signature.key) else {
            continue;
        };
        if !counted.contains(&key.to_bytes()) && verify(key, message, &signature.bytes) {
            counted.insert(key.to_bytes());
        }
    }
    counted.len()
}

/// Refuses unless `role`'s threshold of keys signed `message`; `what` and `who` are for the message.
pub(crate) fn require_threshold(
    step: Step,
    what: &str,
    who: &str,
    role: &RoleKeys,
    message: &[u8],
    signatures: &[Signature],
) -> Result<(), Refusal> {
    let found = count_signatures(role, message, signatures, PublicKey::verifies);
    let expected = role.threshold;
    if expected > 0 && found as u64 >= u64::from(expected) {
        return Ok(());
    }
    let known: Vec<String> = role.keys.keys().map(|id| id.to_string()[..12].to_owned()).collect();
    Err(Refusal::new(
        step,
        Reason::SignatureThreshold,
        format!(
            "trust {what}: found {found} valid signatures by {who} among the {} it carries, expected {expected} \
             by different keys of {}; sign it with a key that root names for this \
             role, or publish a root that names the key",
            signatures.len(),
            if known.is_empty() { "none".to_owned() } else { known.join(", ") },
        ),
    ))
}
