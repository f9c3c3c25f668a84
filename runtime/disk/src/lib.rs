//! Bounded reads, durable atomic replacement, locks and free space: the only I/O below layer 2.
