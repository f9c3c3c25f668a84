//! Numbers beside a peer.
