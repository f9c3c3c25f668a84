//! Private keys. Only programs that a person starts have this feature; the agent never does.

use std::fmt;

use ed25519_dalek::Signer;
use zeroize::Zeroizing;

use crate::{KeyId, PublicKey};

/// Bytes in a key's seed.
pub const SEED_BYTES: usize = 32;
/// Bytes in a signature.
const SIGNATURE_BYTES: usize = 64;

/// An ed25519 private key; wiped from memory when dropped.
#[derive(Clone)]
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.id())
    }
}

impl SigningKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Panics
    /// When the operating system has none: a key made of anything else would be worse.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        getrandom::fill(&mut *seed).expect("the operating system gives random bytes");
        Self::from_seed(&seed)
    }

    /// The key of a seed.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = PublicKey::ed25519(key.verifying_key().to_bytes())
            .expect("the public key of a seed is a point of full order");
        Self { key, public }
    }

    /// The seed: everything that is secret of the key.
    pub fn seed(&self) -> Zeroizing<[u8; SEED_BYTES]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.public.id()
    }

    /// Signs a message.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.key.sign(message).to_bytes()
    }
}
